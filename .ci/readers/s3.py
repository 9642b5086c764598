"""The lake in an object store: killed, continued, locked and published through conditional puts, on a real S3 server."""

import base64
import contextlib
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
import duckdb
from moto.server import ThreadedMotoServer

BINARY = sys.argv[1]
ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCHES, IN_FLIGHT = 20, 3
DATE = "2026-11-23"
# As `backlake simulate` prints them; no real account.
LOGIN, PASSWORD = "simulator@example.com", "not-a-real-password"
KEYS = {"AWS_ACCESS_KEY_ID": "not-a-real-key", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret", "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def simulator(latency_ms):
    args = [BINARY, "simulate", "--port", "0", "--date", DATE, "--latency-ms", str(latency_ms)]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
    try:
        yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    finally:
        process.kill()
        process.wait()


class Lake:
    """A lake on the S3 server, and the pipeline that fills it."""

    def __init__(self, server, folder, provider, snapshot=DATE):
        self.folder, self.snapshot = folder, snapshot
        self.endpoint = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        self.s3 = boto3.client("s3", endpoint_url=self.endpoint, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                               aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_REGION"])
        targets = pathlib.Path(folder, "targets.txt")
        targets.write_text("".join(f"site{n}.com\n" for n in range(BATCHES * 100)))
        self.pipeline = pathlib.Path(folder, "pipeline.toml")
        self.pipeline.write_text(
            f'name = "s3"\nendpoint = "backlinks/bulk_pages_summary"\n[targets]\npaths = ["{targets}"]\n'
            f'[api]\nbase_url = "{provider}"\nmax_in_flight = {IN_FLIGHT}\nlisted_after_seconds = 1\n'
            f'[lake]\nurl = "s3://lake/team/links"\n'
        )

    def start(self, command, *args):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLAKE_", "DATAFORSEO_", "AWS_"))}
        secrets = {"DATAFORSEO_LOGIN": LOGIN, "DATAFORSEO_PASSWORD": PASSWORD}
        aws = KEYS | {"AWS_ENDPOINT": self.endpoint, "AWS_ALLOW_HTTP": "true"}
        if command in ("verify", "compact"):
            args = [BINARY, command, "s3://lake/team/links", *args]
        else:
            args = [BINARY, command, str(self.pipeline), "--snapshot", self.snapshot, *args]
        return subprocess.Popen(args, cwd=ROOT, env=clean | secrets | aws, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def done(self, command, *args, code=0):
        process = self.start(command, *args)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, f"{command} exited {process.returncode}, not {code}: {err}"
        return out, err

    def objects(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=f"team/links/{prefix}")
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def rows(self, table):
        with tempfile.TemporaryDirectory() as folder:
            for number, key in enumerate(self.objects(f"{table}/snapshot_date={self.snapshot}/")):
                self.s3.download_file("lake", key, f"{folder}/{number}.parquet")
            return duckdb.sql(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchall()[0][0]


def charges(provider):
    """What the provider has charged for, by its own list."""
    body = [{"datetime_from": "2000-01-01 00:00:00 +00:00", "datetime_to": "2100-01-01 00:00:00 +00:00", "limit": 1000}]
    request = urllib.request.Request(f"{provider}/v3/backlinks/id_list", json.dumps(body).encode(), method="POST")
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode())
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer)["tasks"][0]["result"])


def a_killed_run_is_continued_by_another_and_pays_for_nothing_twice(server, folder):
    with simulator(latency_ms=150) as provider:
        lake = Lake(server, folder, provider)
        first = lake.start("run")
        while len(lake.objects(f"_archive/{DATE}/")) < 4:
            assert first.poll() is None, first.communicate()
            time.sleep(0.02)
        _, message = lake.done("run", code=6)
        assert f"process {first.pid} on " in message, message
        first.kill()
        first.communicate()
        while True:
            # What was under way at the kill is done by the provider all the same.
            charged = charges(provider)
            time.sleep(0.4)
            if charges(provider) == charged:
                break
        archived = len(lake.objects(f"_archive/{DATE}/"))
        assert charged - archived <= 2 * IN_FLIGHT, (charged, archived)
        assert not lake.objects("pages/") and not lake.objects("_snapshots/")
        report = json.loads(lake.done("run", "--output", "json")[0])
        assert report["state"] == "published" and report["lines"] == sum(report["fates"].values()), report
        assert charges(provider) == BATCHES + charged - archived, "an archived answer was asked for again"
        books = json.loads(lake.done("check", "--reconcile", "--output", "json")[0])["reconciled"]
        assert books["different"] == 0 and books["booked_usd"] == books["charged_usd"] == report["cost_usd"], books
        lake.done("verify")
        assert lake.rows("pages") == report["items"] and lake.rows("targets") == report["lines"]
        assert not lake.objects("_staging/")
        again = json.loads(lake.done("run", "--output", "json")[0])
        assert again["state"] == "already_published", again


def what_is_bundled_is_rebuilt_from_the_bundle(server, folder):
    lake = Lake(server, folder, "http://127.0.0.1:9")
    def files():
        return {key: lake.s3.head_object(Bucket="lake", Key=key)["ETag"] for key in lake.objects("pages/")}
    before, loose = files(), lake.objects(f"_archive/{DATE}/") + lake.objects(f"_runs/{DATE}/intents/")
    assert len(loose) >= 2 * BATCHES, loose
    lake.done("compact", "--yes")
    assert len(lake.objects(f"_archive/{DATE}/")) == 2 and not lake.objects(f"_runs/{DATE}/intents/")
    lake.s3.delete_object(Bucket="lake", Key=next(iter(before)))
    lake.done("replay")
    lake.done("verify")
    assert files() == before, "a replay from the bundle gives other files"


def of_two_that_start_together_one_publishes(server, folder):
    with simulator(latency_ms=100) as provider:
        lake = Lake(server, folder, provider, snapshot="2026-11-24")
        both = [lake.start("run"), lake.start("run")]
        messages = [process.communicate(timeout=300)[1] for process in both]
        assert sorted(process.returncode for process in both) == [0, 6], messages
        assert charges(provider) == BATCHES
        lake.done("verify")


def main():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            Lake(server, folder, "http://127.0.0.1:9").s3.create_bucket(Bucket="lake")
            for check in [a_killed_run_is_continued_by_another_and_pays_for_nothing_twice,
                          what_is_bundled_is_rebuilt_from_the_bundle,
                          of_two_that_start_together_one_publishes]:
                start = time.monotonic()
                check(server, folder)
                print(f"  ok  {check.__name__.replace('_', ' ')} ({time.monotonic() - start:.1f} s)")
    finally:
        server.stop()


main()
