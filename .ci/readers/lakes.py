"""Lakes to read: the simulator of a date, the binary that fills a lake from it, and the provider asked behind its back."""

import base64
import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = sys.argv[1]
MAPS = {
    "tld": "referring_links_tld",
    "type": "referring_links_types",
    "attribute": "referring_links_attributes",
    "platform_type": "referring_links_platform_types",
    "semantic_location": "referring_links_semantic_locations",
    "country": "referring_links_countries",
}
# As `backlake simulate` prints them; no real account.
LOGIN, PASSWORD = "simulator@example.com", "not-a-real-password"
PAID = "/v3/backlinks/bulk_pages_summary/live"


def backlake(*args, code=0):
    """Runs the binary as an account's owner would, and returns what it printed for machines."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLAKE_", "DATAFORSEO_"))}
    secrets = {"DATAFORSEO_LOGIN": LOGIN, "DATAFORSEO_PASSWORD": PASSWORD}
    done = subprocess.run([BINARY, *args], cwd=ROOT, env=clean | secrets, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"backlake {' '.join(args)} exited {done.returncode}, not {code}: {done.stderr}"
    return done.stdout


def pipeline(folder, name, targets, lake, base_url="simulator", extra=""):
    """Writes a pipeline file; `extra` holds whole tables, or keys of [lake]."""
    path = pathlib.Path(folder, f"{name}.toml")
    path.write_text(
        f'name = "{name}"\nendpoint = "backlinks/bulk_pages_summary"\n[targets]\n{targets}\n'
        f'[api]\nbase_url = "{base_url}"\nrequests_per_minute = 10000\n[lake]\nurl = "{lake}"\n{extra}'
    )
    return str(path)


@contextlib.contextmanager
def simulator(date):
    """The simulator as a process of its own, on a day."""
    process = subprocess.Popen([BINARY, "simulate", "--port", "0", "--date", date], stdout=subprocess.PIPE, text=True)
    try:
        yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    finally:
        process.kill()
        process.wait()


def send(url, body=None):
    request = urllib.request.Request(url, body, method="GET" if body is None else "POST")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def ask(provider, by_root):
    """What the provider says of targets, given by root domain: its items, at most 1000 targets and 100 root domains a request."""
    items, batch, roots = [], [], 0
    for targets in [*by_root.values(), None]:
        if targets is None or roots == 100 or len(batch) + len(targets) > 1000:
            task = json.loads(send(provider + PAID, json.dumps([{"targets": batch, "tag": "truth"}]).encode()))["tasks"][0]
            assert task["status_code"] == 20000, task
            items += task["result"][0]["items"] or []
            batch, roots = [], 0
        batch, roots = batch + (targets or []), roots + 1
    return items


def charged(provider):
    """What the provider charged for tasks that are not ours, by its own list."""
    body = [{"datetime_from": "2000-01-01 00:00:00 +00:00", "datetime_to": "2100-01-01 00:00:00 +00:00", "limit": 1000,
             "include_metadata": True}]
    tasks = json.loads(send(f"{provider}/v3/backlinks/id_list", json.dumps(body).encode()))["tasks"][0]["result"]
    return [task["cost"] for task in tasks if task["metadata"]["tag"] != "truth"]


def stem(text):
    """What is the same of a target and its item's url, however the provider writes it."""
    return text.removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")


def partitions_read(connection, query):
    """The partitions whose files DuckDB reads for a query, as it says itself."""
    plan = json.loads(connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").fetchall()[0][1])
    found = set()

    def walk(node):
        # Long lists are shortened there, so the number counts, too.
        told = node.get("extra_info", {})
        files = [file for file in told.get("Filename(s)", "").split(", ") if file]
        assert len(files) == int(told.get("Total Files Read", 0)), told
        found.update(pathlib.Path(file).parent.name for file in files)
        for child in node.get("children", node.get("operator", [])):
            walk(child)

    walk(plan)
    return found


@contextlib.contextmanager
def twisted(provider, twist, refused=frozenset()):
    """A provider whose items are those of another, after `twist` has had them: it may change one, or say False to drop it.
    A task with a target in `refused` is refused."""

    class Provider(http.server.BaseHTTPRequestHandler):
        def pass_on(self, body=None):
            if self.path == PAID and refused.intersection(json.loads(body)[0]["targets"]):
                # What the provider refuses for sure.
                body = json.dumps([{"targets": ["www.example.com", "www.example.org"]}]).encode()
            answer = send(provider + self.path, body)
            if self.path == PAID:
                envelope = json.loads(answer)
                for task in envelope["tasks"]:
                    for result in task["result"] or []:
                        result["items"] = [item for item in result["items"] or [] if twist(item) is not False]
                        result["items_count"] = result["total_count"] = len(result["items"])
                answer = json.dumps(envelope).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = pass_on

        def do_POST(self):
            self.pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
