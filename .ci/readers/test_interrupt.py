"""Publication and replacement, killed at any moment, while DuckDB reads: on a local disk and on an S3 server.

Readers loop without a pause: one over plain globs of every table, one over the files that the manifest names. During a
first publication neither may ever see a part of a table, or an error. During a replacement the reader of the manifest sees
the snapshot before or the one after, whole; how often globs see files of both is measured. `--kills N` sets how often each
kind of store is interrupted.
"""

import json
import random
import signal
import tempfile
import threading
import time

import duckdb
import pytest

from lakes import TABLES, pipeline, write_lines

DATE = "2026-11-23"


def rows_of(path):
    """Rows of a Parquet file, counted by reading a column: its values are decoded."""
    connection = duckdb.connect(config={"threads": 1})
    first = connection.execute(f"DESCRIBE FROM '{path}'").fetchall()[0][0]
    return connection.execute(f"SELECT count(*), count(\"{first}\") FROM '{path}'").fetchall()[0][0]


class Disk:
    """Lakes on a local disk."""

    env = None

    def __init__(self, folder, number):
        self.root = folder / f"lake{number}"
        self.url = str(self.root)

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

    def rows(self, path):
        return rows_of(self.root / path)


class Bucket:
    """Lakes on an S3 server."""

    def __init__(self, s3, bucket, folder, number):
        self.s3, self.bucket, self.folder, self.prefix = s3, bucket, folder, f"lake{number}"
        self.url, self.env = f"s3://{bucket}/{self.prefix}", s3.env

    def get(self, path):
        return self.s3.get(self.bucket, f"{self.prefix}/{path}")

    def manifest(self):
        try:
            return json.loads(self.get(f"_snapshots/{DATE}.json"))
        except self.s3.client.exceptions.NoSuchKey:
            return None

    def by_glob(self, table):
        keys = self.s3.objects(self.bucket, f"{self.prefix}/{table}/")
        return sum(self.rows(key.removeprefix(f"{self.prefix}/")) for key in keys if key.endswith(".parquet"))

    def rows(self, path):
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".parquet") as file:
            file.write(self.get(path))
            file.flush()
            return rows_of(file.name)


@pytest.fixture(params=["disk", "bucket"])
def make_lake(request, tmp_path):
    """Makes the lake with a number."""
    if request.param == "disk":
        return lambda number: Disk(tmp_path, number)
    s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return lambda number: Bucket(s3, bucket, tmp_path, number)


class Readers:
    """Two readers that never pause, and all that they have seen."""

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
        self.globs.append(tuple(self.lake.by_glob(table) for table in TABLES))

    def manifest(self):
        manifest = self.lake.manifest()
        if manifest is None:
            self.manifests.append(None)
            return
        try:
            files = [manifest["tables"][table]["files"] for table in TABLES]
            rows = tuple(sum(self.lake.rows(file["path"]) for file in of_table) for of_table in files)
        except Exception:
            # The snapshot was replaced between its manifest and its files: such a reader reads the new manifest.
            if self.lake.manifest()["run"] == manifest["run"]:
                raise
            return
        self.manifests.append((manifest["run"], rows))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def interrupt(backlake, lake, folder, targets, chance, *args):
    """Runs the pipeline to its end, killing it up to three times while it publishes; returns its report and the kills."""
    file = pipeline(folder, lake.url, targets, name="interrupted")
    kills = 0
    while True:
        process = backlake.start("run", file, "--snapshot", DATE, "--output", "json", *args, env=lake.env)
        publishing = kills < 3 and any("publishing" in line for line in process.stderr)
        if publishing:
            # From before anything is staged until everything is in its place.
            time.sleep(chance.random() * 0.35)
            process.send_signal(signal.SIGKILL)
            kills += 1
        out, err = process.communicate(timeout=300)
        if process.returncode == 0:
            return json.loads(out), kills
        assert process.returncode == -signal.SIGKILL, err


def publish_and_replace(backlake, lake, folder, few, many, chance):
    """Publishes a snapshot and replaces it, with readers; returns the kills, the globs during the replacement, and how many
    of them saw files of both snapshots."""
    with Readers(lake) as readers:
        _, kills = interrupt(backlake, lake, folder, few, chance)
        time.sleep(0.2)
    first = lake.manifest()
    whole = tuple(first["tables"][table]["rows"] for table in TABLES)
    assert not readers.errors, readers.errors[:3]
    for seen in readers.globs:
        assert all(rows in (0, published) for rows, published in zip(seen, whole, strict=True)), (seen, whole)
    assert set(readers.manifests) <= {None, (first["run"], whole)}, set(readers.manifests)

    with Readers(lake) as readers:
        report, more = interrupt(backlake, lake, folder, many, chance, "--replace")
        time.sleep(0.2)
    then = lake.manifest()
    after = tuple(then["tables"][table]["rows"] for table in TABLES)
    # A start that was killed after its manifest was written leaves nothing to publish to the next one.
    assert then["run"] != first["run"] and report["run"] == then["run"], report
    assert report["state"] in ("published", "already_published"), report
    errors = [error for error in readers.errors if error.startswith("manifest")]
    assert not errors, errors[:3]
    assert set(readers.manifests) <= {(first["run"], whole), (then["run"], after)}, set(readers.manifests)
    backlake("verify", lake.url, env=lake.env)
    return kills + more, len(readers.globs), sum(seen not in (whole, after) for seen in readers.globs)


def test_no_reader_sees_a_part_or_an_error_while_publishing_is_killed(backlake, make_lake, tmp_path, pytestconfig, measured):
    few, many = (write_lines(tmp_path / f"{count}.txt", [f"https://site{n // 40}.com/{n}" for n in range(count)])
                 for count in (8_000, 12_000))
    chance, kills, globs, mixed, number = random.Random(7), 0, 0, 0, 0
    while kills < pytestconfig.getoption("kills"):
        number += 1
        more = publish_and_replace(backlake, make_lake(number), tmp_path, few, many, chance)
        kills, globs, mixed = kills + more[0], globs + more[1], mixed + more[2]
    kind = type(make_lake(0)).__name__.lower()
    measured(f"interrupt, {kind}: {kills} kills; of {globs} globs during replacements {mixed} saw files of both snapshots")
