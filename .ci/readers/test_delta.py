"""The lake's Delta logs in the hands of real readers: delta-rs from Python, and DuckDB where it has its extension."""

import datetime
import json
import pathlib
import subprocess

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from lakes import SCRIPTS, TABLES, manifest_of, pipeline, write_lines

DATES = ["2026-11-23", "2026-11-24"]


class Lake:
    """A lake with Delta logs, and how delta-rs opens it."""

    def __init__(self, backlake, folder, dates, lines, url=None, env=None, options=None):
        self.url, self.options, self.dates = str(url or folder / "lake"), options, dates
        targets = write_lines(folder / "targets.txt", lines)
        file = pipeline(folder, self.url, targets, lake_keys='table_formats = ["delta"]')
        for date in dates:
            backlake("run", file, "--snapshot", date, env=env)
        # The last one is published already: nothing is committed again.
        backlake("run", file, "--snapshot", dates[-1], env=env)
        backlake("verify", self.url, env=env)

    def table(self, name):
        return DeltaTable(f"{self.url}/{name}", storage_options=self.options)


@pytest.fixture(scope="module", params=["disk", "bucket"])
def place(request):
    return request.param


@pytest.fixture(scope="module")
def lake(backlake, folder, place, request):
    """A lake of two snapshots, on disk or on the S3 server, with its manifests by date."""
    folder = folder / place
    folder.mkdir()
    lines = [line for n in range(1500)
             for line in (f"site{n}.com", f"https://page{n % 70}.org/some/long/path/to/a/page/{n}")]
    if place == "disk":
        lake = Lake(backlake, folder, DATES, lines)
        lake.manifests = {date: manifest_of(lake.url, date) for date in DATES}
        return lake
    s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    options = s3.keys | {"AWS_ENDPOINT_URL": s3.endpoint, "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}
    lake = Lake(backlake, folder, DATES, lines, f"s3://{bucket}/team/links", s3.env, options)
    lake.manifests = {date: json.loads(s3.get(bucket, f"team/links/_snapshots/{date}.json")) for date in DATES}
    return lake


@pytest.fixture(scope="module")
def long_lake(backlake, folder):
    """Snapshots enough for a checkpoint, and the commits before it cleaned away."""
    dates = [str(datetime.date(2026, 1, 1) + datetime.timedelta(days=n)) for n in range(53)]
    lake = Lake(backlake, folder, dates, ["site.com"])
    for name in TABLES:
        for version in range(50):
            pathlib.Path(lake.url, f"{name}/_delta_log/{version:020}.json").unlink()
    return lake


@pytest.fixture(scope="module")
def in_duckdb(tables_python):
    """What DuckDB finds in a lake, see the script."""
    def read(lake):
        command = [tables_python, SCRIPTS / "delta_in_duckdb.py", lake.url, DATES[0], *TABLES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read


@pytest.mark.parametrize("name", TABLES)
def test_a_snapshot_is_one_version(lake, name):
    table = lake.table(name)
    assert table.version() == len(DATES) - 1, table.version()
    assert table.protocol().min_reader_version == 1 and table.protocol().min_writer_version == 2
    assert table.metadata().name == name and table.metadata().partition_columns == ["snapshot_date"]
    history = table.history()
    assert [entry["operation"] for entry in history] == ["WRITE"] * len(DATES), history
    assert all(entry["engineInfo"].startswith("backlake/") for entry in history), history
    for date in DATES:
        assert table.transaction_version(f"backlake/nightly/{date}") == 1, date


@pytest.mark.parametrize("name", TABLES)
def test_the_log_names_the_files_of_the_manifests(lake, name):
    named = {f"{name}/{file.split(f'/{name}/', 1)[1]}" for file in lake.table(name).file_uris()}
    assert named == {file["path"] for manifest in lake.manifests.values() for file in manifest["tables"][name]["files"]}


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_those_of_the_manifests(lake, name):
    rows = lake.table(name).to_pyarrow_table()
    assert rows.num_rows == sum(manifest["tables"][name]["rows"] for manifest in lake.manifests.values())
    dates = sorted(pc.unique(rows["snapshot_date"]).to_pylist())
    assert dates == [datetime.date.fromisoformat(date) for date in DATES], dates


@pytest.mark.parametrize("name", TABLES)
def test_statistics_in_the_log_hold_for_the_values(lake, name):
    table = lake.table(name)
    rows, adds = table.to_pyarrow_table(), table.get_add_actions(flatten=True)
    columns = {field: adds[field].to_pylist() for field in adds.schema.names}
    assert sum(columns["num_records"]) == rows.num_rows
    for field in rows.schema.names:
        least, greatest = columns.get(f"min.{field}"), columns.get(f"max.{field}")
        if least and any(value is not None for value in least):
            found = pc.min_max(rows[field]).as_py()
            assert min(value for value in least if value is not None) <= found["min"], field
            assert max(value for value in greatest if value is not None) >= found["max"], field
        nulls = columns.get(f"null_count.{field}", [None])
        # A Parquet footer does not tell a null map from an empty one.
        assert None not in nulls or field == "snapshot_date" or str(rows[field].type).startswith("map"), field
        if None not in nulls:
            assert sum(nulls) == rows[field].null_count, field


def test_a_filter_skips_the_files_of_other_dates_and_loses_no_row(lake):
    date = datetime.date.fromisoformat(DATES[0])
    table = lake.table("breakdowns")
    one = table.to_pyarrow_table(filters=[("snapshot_date", "=", date)])
    assert one.num_rows == lake.manifests[DATES[0]]["tables"]["breakdowns"]["rows"]
    dataset = table.to_pyarrow_dataset()
    files = len(list(dataset.get_fragments()))
    partition = len(list(dataset.get_fragments(filter=pc.field("snapshot_date") == date)))
    assert partition == files // 2, (files, partition)


@pytest.mark.parametrize("name", TABLES)
def test_a_filter_on_any_column_finds_every_row(lake, name):
    """Bounds are rounded to milliseconds or cut after 32 characters. delta-rs finds no row where one is missing."""
    table = lake.table(name)
    rows, dataset = table.to_pyarrow_table(), table.to_pyarrow_dataset()
    for field in rows.schema.names:
        # pyarrow cannot compare maps.
        if str(rows[field].type).startswith("map"):
            continue
        column = pc.field(field)
        assert dataset.count_rows(filter=column.is_null()) == rows[field].null_count, field
        of_dates = [rows.filter(pc.equal(rows["snapshot_date"], date))[field] for date in pc.unique(rows["snapshot_date"])]
        for value in {end for values in of_dates if values.null_count < len(values) for end in pc.min_max(values).values()}:
            count = pc.sum(pc.equal(rows[field], value)).as_py()
            assert dataset.count_rows(filter=column == value) == count > 0, (field, value)


@pytest.mark.parametrize("place", ["disk"], indirect=True)
def test_duckdb_reads_the_same(lake, in_duckdb):
    found = in_duckdb(lake)
    for name in TABLES:
        rows = [[date, lake.manifests[date]["tables"][name]["rows"]] for date in DATES]
        assert found[name]["rows"] == rows, (name, found[name]["rows"], rows)
    types = found["pages"]["types"]
    assert types["snapshot_date"] == "DATE" and types["fetched_at"] == "TIMESTAMP WITH TIME ZONE", types
    assert types["referring_links_tld"] == "MAP(VARCHAR, BIGINT)" and types["rank"] == "BIGINT", types
    assert found["requests"]["types"]["cost_usd"] == "DECIMAL(18,6)", found["requests"]["types"]
    cost = sum(round(float(manifest["requests"]["cost_usd"]) * 1e6) for manifest in lake.manifests.values())
    assert round(float(found["cost"]) * 1e6) == cost, found["cost"]
    scanned = [line for line in found["explained"].splitlines() if "Scanning Files" in line]
    assert any(" 1/2" in line.replace("│", " ") for line in scanned), found["explained"]


@pytest.mark.parametrize("name", TABLES)
def test_a_checkpoint_replaces_the_commits_before_it(long_lake, name):
    table = long_lake.table(name)
    assert table.version() == 52 and len(table.file_uris()) == len(long_lake.dates)
    assert table.transaction_version(f"backlake/nightly/{long_lake.dates[0]}") == 1
    assert sorted(map(str, set(table.to_pyarrow_table()["snapshot_date"].to_pylist()))) == long_lake.dates


def test_duckdb_reads_the_checkpoint(long_lake, in_duckdb):
    assert [date for date, _ in in_duckdb(long_lake)["pages"]["rows"]] == long_lake.dates
