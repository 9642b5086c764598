"""Publication and replacement, killed at any moment, while DuckDB reads: on a local disk and on an S3 server.

Usage: interrupt.py BINARY [KILLS]. Readers loop without a pause: one over plain globs of every table, one over what the
manifest names. Of a first publication neither may ever see a part of a table, or an error. Of a replacement the
reader of the manifest sees the snapshot before or the one after, whole; what globs see meanwhile is measured.
"""

import json
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

import boto3
import duckdb
from moto.server import ThreadedMotoServer

BINARY = sys.argv[1]
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 12
ROOT = pathlib.Path(__file__).resolve().parents[2]
DATE = "2026-11-23"
TABLES = ["pages", "breakdowns", "targets", "requests"]
KEYS = {"AWS_ACCESS_KEY_ID": "not-a-real-key", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret", "AWS_REGION": "us-east-1"}


def rows_of(path):
    """Rows of a Parquet file, read and not told: their values are decoded."""
    connection = duckdb.connect(config={"threads": 1})
    first = connection.execute(f"DESCRIBE FROM '{path}'").fetchall()[0][0]
    return connection.execute(f"SELECT count(*), count(\"{first}\") FROM '{path}'").fetchall()[0][0]


class Local:
    """A lake on this machine's disk."""

    name = "local disk"

    def __init__(self, folder, number):
        self.root = pathlib.Path(folder, f"lake{number}")
        self.url, self.variables = str(self.root), {}

    def manifest(self):
        try:
            return json.loads((self.root / f"_snapshots/{DATE}.json").read_text())
        except FileNotFoundError:
            return None

    def by_glob(self, table):
        pattern = f"{self.root}/{table}/*/*.parquet"
        connection = duckdb.connect(config={"threads": 1})
        try:
            return connection.execute(f"SELECT count(*) FROM read_parquet('{pattern}')").fetchall()[0][0]
        except duckdb.IOException as error:
            if "No files found" in str(error):
                return 0
            raise

    def named(self, path):
        return rows_of(self.root / path)


class Bucket:
    """A lake on an S3 server."""

    name = "S3"

    def __init__(self, folder, number, endpoint):
        self.prefix, self.scratch = f"lake{number}", pathlib.Path(folder)
        self.url = f"s3://lake/{self.prefix}"
        self.variables = KEYS | {"AWS_ENDPOINT": endpoint, "AWS_ALLOW_HTTP": "true"}
        self.endpoint = endpoint
        self.clients = threading.local()

    @property
    def s3(self):
        if not hasattr(self.clients, "s3"):
            self.clients.s3 = boto3.session.Session().client(
                "s3", endpoint_url=self.endpoint, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_REGION"])
        return self.clients.s3

    def get(self, key):
        return self.s3.get_object(Bucket="lake", Key=f"{self.prefix}/{key}")["Body"].read()

    def manifest(self):
        try:
            return json.loads(self.get(f"_snapshots/{DATE}.json"))
        except self.s3.exceptions.NoSuchKey:
            return None

    def rows(self, key):
        with tempfile.NamedTemporaryFile(dir=self.scratch, suffix=".parquet") as file:
            file.write(self.get(key))
            file.flush()
            return rows_of(file.name)

    def by_glob(self, table):
        listed = self.s3.list_objects_v2(Bucket="lake", Prefix=f"{self.prefix}/{table}/").get("Contents", [])
        keys = [entry["Key"].removeprefix(f"{self.prefix}/") for entry in listed]
        return sum(self.rows(key) for key in keys if key.endswith(".parquet"))

    def named(self, path):
        return self.rows(path)


def pipeline_of(lake, folder, targets):
    path = pathlib.Path(folder, "pipeline.toml")
    path.write_text(
        f'name = "interrupted"\nendpoint = "backlinks/bulk_pages_summary"\nsnapshot = "{DATE}"\n'
        f'[targets]\npaths = ["{targets}"]\n[api]\nbase_url = "simulator"\nrequests_per_minute = 10000\n[lake]\nurl = "{lake.url}"\n'
    )
    return path


def start(lake, pipeline, *args):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLAKE_", "DATAFORSEO_", "AWS_"))}
    return subprocess.Popen([BINARY, "run", str(pipeline), "--output", "json", *args], cwd=ROOT, env=clean | lake.variables,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Readers:
    """Two readers that never rest, and all that they have seen."""

    def __init__(self, lake):
        self.lake, self.stop = lake, threading.Event()
        self.globs, self.manifests, self.errors = [], [], []
        self.threads = [threading.Thread(target=self.loop, args=[read]) for read in (self.glob, self.manifest)]

    def loop(self, read):
        while not self.stop.is_set():
            try:
                read()
            except Exception as error:
                self.errors.append(f"{read.__name__}: {type(error).__name__}: {error}")

    def glob(self):
        begun = time.monotonic()
        seen = tuple(self.lake.by_glob(table) for table in TABLES)
        self.globs.append((begun, seen))

    def manifest(self):
        told = self.lake.manifest()
        if told is None:
            self.manifests.append(None)
            return
        try:
            rows = tuple(sum(self.lake.named(file["path"]) for file in told["tables"][table]["files"]) for table in TABLES)
        except Exception:
            # Between its manifest and its files the snapshot was replaced: a reader that finds so reads the new one.
            if self.lake.manifest()["run"] == told["run"]:
                raise
            return
        self.manifests.append((told["run"], rows))

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self

    def __exit__(self, *_):
        self.stop.set()
        [thread.join() for thread in self.threads]


def interrupted(lake, folder, targets, chance, *args):
    """Runs the pipeline to its end, killing it a few times once it publishes; returns its report."""
    pipeline = pipeline_of(lake, folder, targets)
    kills = 0
    while True:
        process = start(lake, pipeline, *args)
        publishing = False
        if kills < 3:
            for line in process.stderr:
                if "publishing" in line:
                    publishing = True
                    break
        if publishing:
            # From before anything is staged to after all stands in its place.
            time.sleep(chance.random() * 0.35)
            process.send_signal(signal.SIGKILL)
            kills += 1
        out, err = process.communicate(timeout=300)
        if process.returncode == 0:
            return json.loads(out), kills
        assert process.returncode == -signal.SIGKILL, err


def check(lake, folder, chance):
    few, many = pathlib.Path(folder, "few.txt"), pathlib.Path(folder, "many.txt")
    few.write_text("".join(f"https://site{n // 40}.com/{n}\n" for n in range(8_000)))
    many.write_text("".join(f"https://site{n // 40}.com/{n}\n" for n in range(12_000)))
    with Readers(lake) as readers:
        report, kills = interrupted(lake, folder, few, chance)
        time.sleep(0.2)
    first = lake.manifest()
    whole = tuple(first["tables"][table]["rows"] for table in TABLES)
    assert not readers.errors, readers.errors[:3]
    for _, seen in readers.globs:
        assert all(rows in (0, all_rows) for rows, all_rows in zip(seen, whole)), (seen, whole)
    assert set(readers.manifests) <= {None, (first["run"], whole)}, set(readers.manifests)

    with Readers(lake) as readers:
        report, more = interrupted(lake, folder, many, chance, "--replace")
        time.sleep(0.2)
    then = lake.manifest()
    after = tuple(then["tables"][table]["rows"] for table in TABLES)
    assert then["run"] != first["run"] and report["state"] == "published", report
    errors = [error for error in readers.errors if error.startswith("manifest")]
    assert not errors, errors[:3]
    assert set(readers.manifests) <= {(first["run"], whole), (then["run"], after)}, set(readers.manifests)
    mixed = [(begun, seen) for begun, seen in readers.globs if seen not in (whole, after)]
    subprocess.run([BINARY, "verify", lake.url], check=True, env=os.environ | lake.variables, stderr=subprocess.DEVNULL)
    return kills + more, len(readers.globs), len(mixed)


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    chance = random.Random(7)
    server = ThreadedMotoServer(port=0)
    server.start()
    endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            Bucket(folder, 0, endpoint).s3.create_bucket(Bucket="lake")
            passed = 0
            for make in (lambda n: Local(folder, n), lambda n: Bucket(folder, n, endpoint)):
                kills = reads = mixed = number = 0
                while kills < KILLS:
                    number += 1
                    more = check(make(number), folder, chance)
                    kills, reads, mixed = kills + more[0], reads + more[1], mixed + more[2]
                print(f"  ok  {make(0).name}: {kills} kills, no reader saw a part or an error; of {reads} globs during "
                      f"replacements {mixed} saw files of both")
                passed += 1
        print(f"{passed} passed, 0 failed")
    finally:
        server.stop()


main()
