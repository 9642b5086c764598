"""The lake's Delta logs in the hands of real readers: delta-rs from Python, and DuckDB where it has its extension.

Usage: delta.py PATH-OF-BACKLAKE [PYTHON-WITH-DUCKDB-AND-ITS-DELTA-EXTENSION]
DuckDB ships the extension apart, for its own version only, so it lives in an environment of its own.
"""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import boto3
import pyarrow.compute as pc
from deltalake import DeltaTable

BINARY = sys.argv[1]
DUCKDB = sys.argv[2] if len(sys.argv) > 2 else None
ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ["pages", "breakdowns", "targets", "requests"]
DATES = ["2026-11-23", "2026-11-24"]
KEYS = {"AWS_ACCESS_KEY_ID": "not-a-real-key", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret", "AWS_REGION": "us-east-1"}


def backlake(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLAKE_", "DATAFORSEO_", "AWS_"))}
    done = subprocess.run([BINARY, *args], cwd=ROOT, env=clean | env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"backlake {' '.join(args)} exited {done.returncode}: {done.stderr}"
    return done.stdout


def fill(folder, lake, **env):
    """A lake of two snapshots, and the manifests by date."""
    targets = pathlib.Path(folder, "targets.txt")
    targets.write_text("".join(f"site{n}.com\nhttps://page{n % 70}.org/some/long/path/to/a/page/{n}\n" for n in range(1500)))
    pipeline = pathlib.Path(folder, "pipeline.toml")
    pipeline.write_text(
        f'name = "nightly"\nendpoint = "backlinks/bulk_pages_summary"\n[targets]\npaths = ["{targets}"]\n'
        f'[api]\nbase_url = "simulator"\n[lake]\nurl = "{lake}"\ntable_format = "delta"\n'
    )
    for date in DATES:
        backlake("run", str(pipeline), "--snapshot", date, **env)
    # Published already: nothing is committed again.
    backlake("run", str(pipeline), "--snapshot", DATES[-1], **env)
    backlake("verify", lake, **env)


class Disk:
    """A lake in a folder."""

    def __init__(self, folder):
        self.url, self.options = f"{folder}/lake", None
        fill(folder, self.url)

    def manifest(self, date):
        return json.loads(pathlib.Path(self.url, f"_snapshots/{date}.json").read_text())


class Bucket:
    """A lake on an S3 server."""

    def __init__(self, folder, endpoint):
        self.url = "s3://lake/team/links"
        self.options = KEYS | {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}
        self.s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                               aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"], region_name=KEYS["AWS_REGION"])
        self.s3.create_bucket(Bucket="lake")
        fill(folder, self.url, **KEYS, AWS_ENDPOINT=endpoint, AWS_ALLOW_HTTP="true")

    def manifest(self, date):
        return json.load(self.s3.get_object(Bucket="lake", Key=f"team/links/_snapshots/{date}.json")["Body"])


def open_table(lake, name):
    return DeltaTable(f"{lake.url}/{name}", storage_options=lake.options)


def a_snapshot_is_one_version_and_its_files_are_the_manifest_s(lake):
    manifests = [lake.manifest(date) for date in DATES]
    for name in TABLES:
        table = open_table(lake, name)
        assert table.version() == len(DATES) - 1, (name, table.version())
        assert table.protocol().min_reader_version == 1 and table.protocol().min_writer_version == 2
        assert table.metadata().name == name and table.metadata().partition_columns == ["snapshot_date"]
        history = table.history()
        assert [entry["operation"] for entry in history] == ["WRITE"] * len(DATES), history
        assert all(entry["engineInfo"].startswith("backlake/") for entry in history), history
        for date in DATES:
            assert table.transaction_version(f"backlake/nightly/{date}") == 1, (name, date)
        named = {f"{name}/{path}" for path in (file.split(f"/{name}/", 1)[1] for file in table.file_uris())}
        assert named == {file["path"] for manifest in manifests for file in manifest["tables"][name]["files"]}, name


def rows_and_values_are_those_of_the_files(lake):
    manifests = [lake.manifest(date) for date in DATES]
    for name in TABLES:
        table = open_table(lake, name)
        rows = table.to_pyarrow_table()
        assert rows.num_rows == sum(manifest["tables"][name]["rows"] for manifest in manifests), name
        dates = sorted(pc.unique(rows["snapshot_date"]).to_pylist())
        assert dates == [datetime.date.fromisoformat(date) for date in DATES], dates
        adds = table.get_add_actions(flatten=True)
        columns = {field: adds[field].to_pylist() for field in adds.schema.names}
        assert sum(columns["num_records"]) == rows.num_rows, name
        for field in rows.schema.names:
            least, greatest = columns.get(f"min.{field}"), columns.get(f"max.{field}")
            if least and any(value is not None for value in least):
                found = pc.min_max(rows[field]).as_py()
                assert min(value for value in least if value is not None) <= found["min"], (name, field)
                assert max(value for value in greatest if value is not None) >= found["max"], (name, field)
            nulls = columns.get(f"null_count.{field}", [None])
            # Of a map a Parquet footer does not tell null from empty.
            assert None not in nulls or field == "snapshot_date" or str(rows[field].type).startswith("map"), (name, field)
            if None not in nulls:
                assert sum(nulls) == rows[field].null_count, (name, field)


def a_reader_skips_what_it_need_not_read(lake):
    date = datetime.date.fromisoformat(DATES[0])
    table = open_table(lake, "breakdowns")
    one = table.to_pyarrow_table(filters=[("snapshot_date", "=", date)])
    assert one.num_rows == lake.manifest(DATES[0])["tables"]["breakdowns"]["rows"]
    dataset = table.to_pyarrow_dataset()
    files = len(list(dataset.get_fragments()))
    partition = len(list(dataset.get_fragments(filter=pc.field("snapshot_date") == date)))
    dimension = len(list(dataset.get_fragments(filter=pc.field("dimension") == "tld")))
    assert partition == files // 2 and dimension == len(DATES), (files, partition, dimension)
    # Each dimension is a file: statistics alone must find the one, and no row may be lost.
    found = dataset.count_rows(filter=pc.field("dimension") == "tld")
    assert found == sum(value == "tld" for value in table.to_pyarrow_table(columns=["dimension"])["dimension"].to_pylist())
    # A time within a millisecond and a text of more than 32 characters: what is cut short must not lose a row.
    pages = open_table(lake, "pages")
    rows, dataset = pages.to_pyarrow_table(), pages.to_pyarrow_dataset()
    for field in ["fetched_at", "url", "root_domain"]:
        for value in (pc.min(rows[field]), pc.max(rows[field])):
            assert dataset.count_rows(filter=pc.field(field) == value) == pc.sum(pc.equal(rows[field], value)).as_py() > 0, field


IN_DUCKDB = """
import json, sys
import duckdb, duckdb_extension_delta
from pathlib import Path
connection = duckdb.connect(config={"allow_unsigned_extensions": "false", "autoinstall_known_extensions": "false"})
extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
connection.execute(f"LOAD '{extension}'")
connection.execute("SET TimeZone = 'UTC'")
answers = {}
for name in sys.argv[2:]:
    scan = f"delta_scan('{sys.argv[1]}/{name}')"
    rows = connection.execute(f"SELECT snapshot_date::VARCHAR, count(*) FROM {scan} GROUP BY ALL ORDER BY ALL").fetchall()
    types = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {scan})").fetchall())
    answers[name] = {"rows": rows, "types": types}
scan = f"delta_scan('{sys.argv[1]}/breakdowns')"
query = f"EXPLAIN ANALYZE SELECT count(*) FROM {scan} WHERE dimension = 'tld' AND snapshot_date = DATE '2026-11-23'"
answers["explained"] = connection.execute(query).fetchall()[0][1]
scan = f"delta_scan('{sys.argv[1]}/pages')"
for value in ("min(fetched_at)", "max(fetched_at)", "max(url)", "min(url)"):
    column = value[4:-1]
    query = f"SELECT count(*) FROM {scan} WHERE {column} = (SELECT {value} FROM {scan})"
    assert connection.execute(query).fetchone()[0] > 0, value
answers["cost"] = connection.execute(f"SELECT sum(cost_usd)::VARCHAR FROM delta_scan('{sys.argv[1]}/requests')").fetchone()[0]
print(json.dumps(answers))
"""


def duckdb_reads_the_same(lake):
    done = subprocess.run([DUCKDB, "-c", IN_DUCKDB, lake.url, *TABLES], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for name in TABLES:
        told = [[date, lake.manifest(date)["tables"][name]["rows"]] for date in DATES]
        assert answers[name]["rows"] == told, (name, answers[name]["rows"], told)
    types = answers["pages"]["types"]
    assert types["snapshot_date"] == "DATE" and types["fetched_at"] == "TIMESTAMP WITH TIME ZONE", types
    assert types["referring_links_tld"] == "MAP(VARCHAR, BIGINT)" and types["rank"] == "BIGINT", types
    assert answers["requests"]["types"]["cost_usd"] == "DECIMAL(18,6)", answers["requests"]["types"]
    cost = sum(round(float(lake.manifest(date)["requests"]["cost_usd"]) * 1e6) for date in DATES)
    assert round(float(answers["cost"]) * 1e6) == cost, answers["cost"]
    scanned = [line for line in answers["explained"].splitlines() if "Scanning Files" in line]
    assert any(" 1/2" in line.replace("│", " ") for line in scanned), answers["explained"]


class Years:
    """Nights enough for a checkpoint, and the commits before it cleaned away."""

    def __init__(self, folder):
        self.url = f"{folder}/lake"
        targets, pipeline = pathlib.Path(folder, "targets.txt"), pathlib.Path(folder, "pipeline.toml")
        targets.write_text("site.com\n")
        pipeline.write_text(
            f'name = "nightly"\nendpoint = "backlinks/bulk_pages_summary"\n[targets]\npaths = ["{targets}"]\n'
            f'[api]\nbase_url = "simulator"\n[lake]\nurl = "{self.url}"\ntable_format = "delta"\n'
        )
        self.dates = [str(datetime.date(2026, 1, 1) + datetime.timedelta(days=n)) for n in range(53)]
        for date in self.dates:
            backlake("run", str(pipeline), "--snapshot", date)
        for name in TABLES:
            for version in range(50):
                pathlib.Path(self.url, f"{name}/_delta_log/{version:020}.json").unlink()


def a_checkpoint_stands_for_the_commits_before_it(folder):
    lake = Years(folder)
    for name in TABLES:
        table = DeltaTable(f"{lake.url}/{name}")
        assert table.version() == 52 and len(table.file_uris()) == len(lake.dates)
        assert table.transaction_version(f"backlake/nightly/{lake.dates[0]}") == 1
        assert sorted(map(str, set(table.to_pyarrow_table()["snapshot_date"].to_pylist()))) == lake.dates
    if DUCKDB:
        done = subprocess.run([DUCKDB, "-c", IN_DUCKDB, lake.url, *TABLES], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert [date for date, _ in json.loads(done.stdout)["pages"]["rows"]] == lake.dates


S3 = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
input()
"""


@contextlib.contextmanager
def s3_server():
    """An S3 server in a process of its own: delta-rs waits for it without letting other Python threads run."""
    process = subprocess.Popen([sys.executable, "-c", S3], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def main():
    checks = [a_snapshot_is_one_version_and_its_files_are_the_manifest_s, rows_and_values_are_those_of_the_files,
              a_reader_skips_what_it_need_not_read]
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        a_checkpoint_stands_for_the_commits_before_it(folder)
        print(f"  ok  a checkpoint stands for the commits before it ({time.monotonic() - start:.1f} s)")
    with s3_server() as endpoint, tempfile.TemporaryDirectory() as disk, tempfile.TemporaryDirectory() as bucket:
        lakes = [(Disk(disk), checks + [duckdb_reads_the_same] if DUCKDB else checks), (Bucket(bucket, endpoint), checks)]
        for lake, checks in lakes:
            for check in checks:
                start = time.monotonic()
                check(lake)
                name = check.__name__.replace("_", " ")
                print(f"  ok  {name}, {type(lake).__name__.lower()} ({time.monotonic() - start:.1f} s)")


main()
