"""A proxy before an S3 server that fails requests, as a plan says: by kind and number of the request, never by time."""

import collections
import dataclasses
import http.client
import http.server
import threading
import urllib.parse

# What a client must survive: the answer that a request gets instead of its own. `None`: the connection breaks off.
# `before`: nothing has happened. `after`: it has happened. `slow`: it has happened, and the answer comes too late.
FAULTS = {
    "before": None,
    "after": None,
    "slow": None,
    "409": (409, "ConditionalRequestConflict"),
    "412": (412, "PreconditionFailed"),
    "429": (429, "TooManyRequests"),
    "500": (500, "InternalError"),
    "501": (501, "NotImplemented"),
    "503": (503, "SlowDown"),
    "expired": (400, "ExpiredToken"),
}


def kind_of(method, path, headers):
    """What a request asks for."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query, keep_blank_values=True)
    if method == "PUT":
        return ("copy" if "x-amz-copy-source" in headers else
                "part" if "partNumber" in query else
                "create" if "if-none-match" in headers else
                "update" if "if-match" in headers else "put")
    if method == "POST":
        return "delete" if "delete" in query else "upload" if "uploads" in query else "complete"
    if method == "DELETE":
        return "abort" if "uploadId" in query else "delete"
    return "list" if "list-type" in query else "get" if method == "GET" else "head"


def meets(kind, fault):
    """Whether a request of this kind can meet this fault."""
    if fault == "412":
        return kind in ("create", "update")
    if fault == "409":
        return kind in ("create", "update", "put")
    return True


@dataclasses.dataclass
class Plan:
    """The requests that fail: from the one with this number among those of its kind, so many one after the other."""

    kind: str
    number: int
    fault: str
    length: int


class FaultyS3:
    """The proxy. Counts the requests of each kind, and how often a kind has met a fault."""

    def __init__(self, endpoint):
        self.lock = threading.Lock()
        self.upstream = urllib.parse.urlsplit(endpoint).netloc
        self.reached = collections.Counter()
        self.plan_for_next(None)
        handler = type("Handler", (Handler,), {"proxy": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def plan_for_next(self, plan):
        """Counts from 0 again, and fails what the plan says; `None`: nothing."""
        with self.lock:
            self.plan, self.seen, self.left, self.has_begun = plan, collections.Counter(), plan.length if plan else 0, False

    def fault_of(self, kind):
        """The fault that the next request of this kind meets."""
        with self.lock:
            number, plan = self.seen[kind], self.plan
            self.seen[kind] += 1
            if not plan or not self.left or not meets(kind, plan.fault):
                return None
            if not self.has_begun and (kind != plan.kind or number < plan.number):
                return None
            self.has_begun = True
            self.left -= 1
            self.reached[kind, plan.fault] += 1
            return plan.fault


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A client that never hangs up fails the test instead of holding it up.
    timeout = 120
    proxy = None

    def forward(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.proxy.fault_of(kind_of(self.command, self.path, self.headers))
        if fault and FAULTS[fault]:
            status, code = FAULTS[fault]
            self.answer(status, {}, f"<Error><Code>{code}</Code><Message>{fault}</Message></Error>".encode())
            return
        if fault == "before":
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=120)
        upstream.request(self.command, self.path, body or None, dict(self.headers))
        response = upstream.getresponse()
        answer = response.read()
        upstream.close()
        if fault == "slow":
            # Until the client gives up.
            while self.connection.recv(1):
                pass
        if fault in ("after", "slow"):
            self.close_connection = True
            return
        hidden = ("connection", "transfer-encoding", "content-length", "server", "date")
        headers = {name: value for name, value in response.getheaders() if name.lower() not in hidden}
        length = response.getheader("content-length") if self.command == "HEAD" else None
        self.answer(response.status, headers, answer, length)

    def answer(self, status, headers, body, length=None):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            try:
                self.wfile.write(body)
            except ConnectionError:
                # The client has given up.
                self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

    def log_message(self, *args):
        pass
