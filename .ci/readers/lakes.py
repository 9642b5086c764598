"""What the tests share: the binary, pipeline files, the provider asked without backlake, and an S3 server."""

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

import boto3
import duckdb

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPTS = HERE / "scripts"
TABLES = ["pages", "breakdowns", "targets", "requests"]
# The dimensions of `breakdowns`, and the map of `pages` that each comes from.
MAPS = {
    "tld": "referring_links_tld",
    "type": "referring_links_types",
    "attribute": "referring_links_attributes",
    "platform_type": "referring_links_platform_types",
    "semantic_location": "referring_links_semantic_locations",
    "country": "referring_links_countries",
}
NUMBERS = [
    "rank", "main_domain_rank", "backlinks", "backlinks_spam_score", "broken_backlinks", "broken_pages", "referring_domains",
    "referring_domains_nofollow", "referring_main_domains", "referring_main_domains_nofollow", "referring_ips",
    "referring_subnets", "referring_pages", "referring_pages_nofollow",
]
# As `backlake simulate` prints them; no real account.
LOGIN, PASSWORD = "simulator@example.com", "not-a-real-password"
ACCOUNT = {"DATAFORSEO_LOGIN": LOGIN, "DATAFORSEO_PASSWORD": PASSWORD}
SUMMARY_PATH = "/v3/backlinks/bulk_pages_summary/live"


class Backlake:
    """The binary under test, in an environment without any setting or credential of this machine."""

    def __init__(self, binary):
        self.binary = str(binary)

    def options(self, env=None):
        """How to start it: options of `subprocess`."""
        clean = {name: value for name, value in os.environ.items()
                 if not name.startswith(("BACKLAKE_", "DATAFORSEO_", "AWS_"))}
        return {"cwd": ROOT, "env": clean | (env or {}), "text": True}

    def start(self, *args, env=None):
        """Starts the binary and returns its process."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([self.binary, *map(str, args)], **self.options(env), **pipes)

    def finish(self, *args, code=0, env=None, timeout=600):
        """Runs the binary to its end, which must be the exit code `code`."""
        done = subprocess.run([self.binary, *map(str, args)], **self.options(env), capture_output=True, timeout=timeout)
        assert done.returncode == code, f"backlake {args} exited {done.returncode}, not {code}: {done.stderr}"
        return done

    def __call__(self, *args, **options):
        """Runs the binary and returns its standard output: the result of a command."""
        return self.finish(*args, **options).stdout

    def report(self, *args, **options):
        """Runs the binary and returns its report."""
        return json.loads(self(*args, "--output", "json", **options))

    @contextlib.contextmanager
    def simulator(self, date=None, latency_ms=0):
        """The simulated provider in a process of its own; gives its URL."""
        args = ["simulate", "--port", "0", "--latency-ms", str(latency_ms), *(["--date", date] if date else [])]
        process = subprocess.Popen([self.binary, *args], stdout=subprocess.PIPE, **self.options())
        try:
            yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        finally:
            process.kill()
            process.communicate()


def write_lines(path, lines):
    """Writes a target list and returns its path."""
    path = pathlib.Path(path)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def pipeline(folder, lake, targets, *, name="nightly", base_url="simulator", columns="", api="", lake_keys=""):
    """Writes a pipeline file for the list `targets`; the last three are further keys of [targets], [api] and [lake]."""
    path = pathlib.Path(folder, f"{name}.toml")
    path.write_text(
        f'name = "{name}"\nendpoint = "backlinks/bulk_pages_summary"\n'
        f'[targets]\npaths = ["{targets}"]\n{columns}\n'
        f'[api]\nbase_url = "{base_url}"\nrequests_per_minute = 10000\n{api}\n'
        f'[lake]\nurl = "{lake}"\n{lake_keys}\n'
    )
    return path


def manifest_of(lake, date):
    """The manifest of a snapshot in a lake on disk."""
    return json.loads(pathlib.Path(lake, f"_snapshots/{date}.json").read_text())


def in_utc():
    """A DuckDB connection that shows times in UTC."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def parquet(lake, table):
    """A table of a lake on disk, for DuckDB."""
    return f"read_parquet('{lake}/{table}/*/*.parquet', hive_partitioning = true)"


def scans(connection, query):
    """The scans of files in DuckDB's plan of a query, after it ran."""
    plan = json.loads(connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").fetchall()[0][1])
    nodes, found = [plan], []
    while nodes:
        node = nodes.pop()
        nodes += node.get("children", node.get("operator", []))
        if "Total Files Read" in node.get("extra_info", {}):
            found.append(node)
    return found


def partitions_read(connection, query):
    """The partitions that DuckDB says it read files of for a query."""
    found = set()
    for scan in scans(connection, query):
        # DuckDB shortens long lists of files, so their number is compared, too.
        details = scan["extra_info"]
        files = [file for file in details.get("Filename(s)", "").split(", ") if file]
        assert len(files) == int(details["Total Files Read"]), details
        found.update(pathlib.Path(file).parent.name for file in files)
    return found


def rows_read(connection, query):
    """The rows that leave DuckDB's scans of files, after the conditions that it applies there."""
    return sum(int(scan["intermediate_rows"]) for scan in scans(connection, query))


def difference(found, expected):
    """Where two results first differ, in a line; empty if they are equal. pytest's own diff of 10,000 rows takes minutes."""
    if found == expected:
        return ""
    if isinstance(found, dict) and isinstance(expected, dict):
        found, expected = sorted(found.items(), key=repr), sorted(expected.items(), key=repr)
    if isinstance(found, list) and isinstance(expected, list):
        pairs = [pair for pair in zip(found, expected) if pair[0] != pair[1]]
        pairs = pairs or [(f"{len(found)} rows", f"{len(expected)} rows")]
        return f"{len(pairs)} differ; the first: read {pairs[0][0]!r}, the truth is {pairs[0][1]!r}"
    return f"read {found!r}, the truth is {expected!r}"


# The provider, asked without backlake.

def send(url, body=None):
    """Sends a request with the simulator's credentials; returns the response's bytes."""
    request = urllib.request.Request(url, body, method="GET" if body is None else "POST")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def ask_provider(provider, by_root):
    """The provider's items for targets by root domain, with at most 1,000 targets and 100 root domains in a request."""
    items, batch, roots = [], [], 0
    for targets in [*by_root.values(), None]:
        if targets is None or roots == 100 or len(batch) + len(targets) > 1000:
            body = json.dumps([{"targets": batch, "tag": "truth"}]).encode()
            task = json.loads(send(provider + SUMMARY_PATH, body))["tasks"][0]
            assert task["status_code"] == 20000, task
            items += task["result"][0]["items"] or []
            batch, roots = [], 0
        batch, roots = batch + (targets or []), roots + 1
    return items


def charged(provider):
    """The provider's list of what it charged, without the requests of `ask_provider`."""
    body = [{"datetime_from": "2000-01-01 00:00:00 +00:00", "datetime_to": "2100-01-01 00:00:00 +00:00",
             "limit": 1000, "include_metadata": True}]
    response = json.loads(send(f"{provider}/v3/backlinks/id_list", json.dumps(body).encode()))
    return [task["cost"] for task in response["tasks"][0]["result"] if task["metadata"]["tag"] != "truth"]


def stem(text):
    """What a target and its item's url have in common, whichever form the provider writes."""
    return text.removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")


class Handler(http.server.BaseHTTPRequestHandler):
    """A provider of a test's own: `respond(path, body)` returns the response's bytes; body is None for GET."""

    respond = None

    def do_GET(self):
        self.reply(None)

    def do_POST(self):
        self.reply(self.rfile.read(int(self.headers["Content-Length"])))

    def reply(self, body):
        response = type(self).respond(self.path, body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(respond):
    """Serves `respond(path, body)` on loopback; gives its URL."""
    handler = type("Provider", (Handler,), {"respond": staticmethod(respond)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def altered(provider, alter, refused=frozenset()):
    """A provider that sends another one's items after `alter(item)`, which may change an item, or return False to drop it.
    A task with a target in `refused` is refused."""

    def respond(path, body):
        if path == SUMMARY_PATH and refused.intersection(json.loads(body)[0]["targets"]):
            # Targets that the provider refuses in any case.
            body = json.dumps([{"targets": ["www.example.com", "www.example.org"]}]).encode()
        response = send(provider + path, body)
        if path != SUMMARY_PATH:
            return response
        envelope = json.loads(response)
        for task in envelope["tasks"]:
            for result in task["result"] or []:
                result["items"] = [item for item in result["items"] or [] if alter(item) is not False]
                result["items_count"] = result["total_count"] = len(result["items"])
        return json.dumps(envelope).encode()

    return serve(respond)


# An S3 server.

class S3:
    """An S3 server, what the binary needs to use it, and a client."""

    KEY, SECRET, REGION = "not-a-real-key", "not-a-real-secret", "us-east-1"

    def __init__(self, endpoint):
        self.endpoint = endpoint
        self.keys = {"AWS_ACCESS_KEY_ID": self.KEY, "AWS_SECRET_ACCESS_KEY": self.SECRET, "AWS_REGION": self.REGION}
        self.env = self.keys | {"AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}
        self.client = boto3.client("s3", endpoint_url=endpoint, region_name=self.REGION,
                                   aws_access_key_id=self.KEY, aws_secret_access_key=self.SECRET)

    def objects(self, bucket, prefix):
        """The keys under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def get(self, bucket, key):
        """An object's bytes; raises `client.exceptions.NoSuchKey`."""
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()


@contextlib.contextmanager
def s3_server():
    """An S3 server in a process of its own: delta-rs waits for it without letting other Python threads run."""
    process = subprocess.Popen([sys.executable, SCRIPTS / "s3_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        yield S3(f"http://127.0.0.1:{process.stdout.readline().strip()}")
    finally:
        process.kill()
        process.communicate()
