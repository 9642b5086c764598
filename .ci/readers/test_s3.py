"""The lake in an object store: killed, continued, locked and published through conditional puts, on a real S3 server."""

import collections
import http.server
import re
import subprocess
import threading
import time
import types

import duckdb
import pytest

from lakes import ACCOUNT, charged, pipeline, write_lines

BATCHES, IN_FLIGHT = 20, 3
DATE = "2026-11-23"
# Nothing listens there.
NOBODY = "http://127.0.0.1:9"


class Lake:
    """A snapshot in a lake on the S3 server."""

    def __init__(self, backlake, s3, bucket, folder, provider, batches=BATCHES, name="links"):
        self.backlake, self.s3, self.bucket, self.folder, self.prefix = backlake, s3, bucket, folder, f"team/{name}"
        self.url = f"s3://{bucket}/{self.prefix}"
        targets = write_lines(folder / "targets.txt", [f"site{n}.com" for n in range(batches * 100)])
        self.pipeline = pipeline(folder, self.url, targets, name="s3", base_url=provider,
                                 api=f"max_in_flight = {IN_FLIGHT}\nlisted_after_seconds = 1")
        self.env = ACCOUNT | s3.env

    def args(self, command, *more):
        """The command line of a command on the pipeline, or on the lake."""
        if command in ("verify", "compact"):
            return [command, self.url, *more]
        return [command, self.pipeline, "--snapshot", DATE, *more]

    def start(self, command):
        return self.backlake.start(*self.args(command), env=self.env)

    def finish(self, command, *more, code=0):
        return self.backlake.finish(*self.args(command, *more), code=code, env=self.env, timeout=300)

    def report(self, command, *more):
        return self.backlake.report(*self.args(command, *more), env=self.env, timeout=300)

    def objects(self, prefix):
        return self.s3.objects(self.bucket, f"{self.prefix}/{prefix}")

    def rows(self, table):
        """Rows of a table, counted by DuckDB in the downloaded files."""
        folder = self.folder / "downloaded" / table
        folder.mkdir(parents=True)
        for number, key in enumerate(self.objects(f"{table}/snapshot_date={DATE}/")):
            self.s3.client.download_file(self.bucket, key, f"{folder}/{number}.parquet")
        return duckdb.sql(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchall()[0][0]


@pytest.fixture(scope="module")
def continued(backlake, s3, bucket, folder):
    """A run that is killed half way and continued by another; what was seen on the way."""
    seen = types.SimpleNamespace()
    with backlake.simulator(DATE, latency_ms=150) as provider:
        lake = Lake(backlake, s3, bucket, folder, provider)
        first = lake.start("run")
        while len(lake.objects(f"_archive/{DATE}/")) < 4:
            assert first.poll() is None, first.communicate()
            time.sleep(0.02)
        seen.first, seen.refusal = first.pid, lake.finish("run", code=6).stderr
        first.kill()
        first.communicate()
        while True:
            # The provider finishes the tasks that were under way.
            seen.charged = len(charged(provider))
            time.sleep(0.4)
            if len(charged(provider)) == seen.charged:
                break
        seen.archived = len(lake.objects(f"_archive/{DATE}/"))
        seen.published_early = lake.objects("pages/") + lake.objects("_snapshots/")
        seen.report = lake.report("run")
        seen.charged_in_all = len(charged(provider))
        seen.reconciled = lake.report("check", "--reconcile")["reconciled"]
        lake.finish("verify")
        seen.rows = {table: lake.rows(table) for table in ["pages", "targets"]}
        seen.staged = lake.objects("_staging/")
        seen.again = lake.report("run")
    return seen


def test_a_second_run_is_told_which_process_holds_the_snapshot(continued):
    assert f"process {continued.first} on " in continued.refusal, continued.refusal


def test_a_killed_run_has_archived_all_but_what_was_in_flight(continued):
    assert continued.charged - continued.archived <= 2 * IN_FLIGHT, (continued.charged, continued.archived)


def test_a_killed_run_publishes_nothing(continued):
    assert not continued.published_early


def test_another_run_continues_it_and_accounts_for_every_line(continued):
    report = continued.report
    assert report["state"] == "published" and report["lines"] == sum(report["fates"].values()), report


def test_no_archived_response_is_paid_twice(continued):
    assert continued.charged_in_all == BATCHES + continued.charged - continued.archived


def test_the_ledger_of_a_continued_run_is_the_provider_s(continued):
    ledger = continued.reconciled
    assert ledger["different"] == 0, ledger
    assert ledger["recorded_usd"] == ledger["charged_usd"] == continued.report["cost_usd"], ledger


def test_a_continued_run_publishes_every_row_and_leaves_nothing_staged(continued):
    assert continued.rows == {"pages": continued.report["items"], "targets": continued.report["lines"]}
    assert not continued.staged


def test_a_published_snapshot_is_not_run_again(continued):
    assert continued.again["state"] == "already_published", continued.again


def test_a_replay_from_a_bundle_writes_the_same_files(continued, backlake, s3, bucket, folder):
    lake = Lake(backlake, s3, bucket, folder, NOBODY)

    def files():
        return {key: s3.client.head_object(Bucket=bucket, Key=key)["ETag"] for key in lake.objects("pages/")}

    before, loose = files(), lake.objects(f"_archive/{DATE}/") + lake.objects(f"_runs/{DATE}/intents/")
    assert len(loose) >= 2 * BATCHES, loose
    lake.finish("compact", "--yes")
    assert len(lake.objects(f"_archive/{DATE}/")) == 2 and not lake.objects(f"_runs/{DATE}/intents/")
    s3.client.delete_object(Bucket=bucket, Key=next(iter(before)))
    lake.finish("replay")
    lake.finish("verify")
    assert files() == before


# How often two runs start together, by --campaign.
ROUNDS = {"small": 3, "middle": 25, "full": 100}


def test_of_two_runs_that_start_together_one_publishes_and_nothing_is_paid_twice(backlake, s3, bucket, folder, pytestconfig, measured):
    told = collections.Counter()
    rounds = ROUNDS[pytestconfig.getoption("campaign")]
    for number in range(rounds):
        # Some are so slow that the other has the lock and sends requests, some so fast that it is done.
        with backlake.simulator(DATE, latency_ms=(number % 3) * 50) as provider:
            place = folder / f"together-{number}"
            place.mkdir()
            lake = Lake(backlake, s3, bucket, place, provider, batches=3, name=f"together-{number}")
            both = [lake.start("run"), lake.start("run")]
            ends = [(*process.communicate(timeout=300), process.returncode) for process in both]
            codes = sorted(code for *_, code in ends)
            assert codes in ([0, 6], [0, 0]), ends
            told[codes[1]] += 1
            assert len(charged(provider)) == 3, ends
            lake.finish("verify")
    measured(f"two runs that start together on S3, {rounds} times: the other was told, by exit code: {dict(told)}")


# What an S3 server says, and what backlake makes of it: the exit code and words of the message and of the hint.
REFUSALS = {
    "nobucket": (404, "NoSuchBucket", 2, "the bucket does not exist"),
    "nokey": (403, "InvalidAccessKeyId", 2, "does not accept the credentials"),
    "denied": (403, "AccessDenied", 2, "must be allowed to list, read, write and delete"),
    "expired": (400, "ExpiredToken", 1, "get new credentials"),
    "region": (301, "PermanentRedirect", 2, "set AWS_REGION"),
}


class Refuses(http.server.BaseHTTPRequestHandler):
    """Refuses every request as the name of the bucket says."""

    def refuse(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        status, code, *_ = REFUSALS[re.split("[/?]", self.path)[1]]
        body = f"<Error><Code>{code}</Code></Error>".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = refuse

    def log_message(self, *args):
        pass


def check(backlake, folder, url, env):
    """What `check` says about a lake."""
    targets = write_lines(folder / "targets.txt", ["example.com"])
    file = pipeline(folder, url, targets, name="refused", base_url="simulator")
    env = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"} | env
    done = subprocess.run([backlake.binary, "check", file, "--quiet"], **backlake.options(env), capture_output=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("bucket_name", REFUSALS)
def test_what_a_store_refuses_is_said_in_words_with_what_to_do(backlake, tmp_path, bucket_name):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    env = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ALLOW_HTTP": "true"}
    code, said = check(backlake, tmp_path, f"s3://{bucket_name}/links", env)
    server.shutdown()
    assert code == REFUSALS[bucket_name][2] and REFUSALS[bucket_name][3] in said, said


@pytest.mark.parametrize("endpoint, code, words", [
    ("nonsense", 2, "is not a URL"), ("http://127.0.0.1:9", 2, "set AWS_ALLOW_HTTP=true"), ("https://127.0.0.1:9", 1, "cannot be reached")])
def test_an_endpoint_that_cannot_be_used_is_named(backlake, tmp_path, endpoint, code, words):
    found, said = check(backlake, tmp_path, "s3://bucket/links", {"AWS_ENDPOINT_URL": endpoint})
    assert found == code and words in said, said
