"""What the demo publishes, and a response recorded from the real API, read by DuckDB, pyarrow and Prometheus."""

import json
import pathlib
import shutil

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lakes import ACCOUNT, MAPS, ROOT, in_utc, manifest_of, parquet, pipeline, serve, write_lines


@pytest.fixture(scope="module")
def manifest(demo):
    return manifest_of(demo.lake, demo.DATE)


@pytest.fixture
def duckdb():
    return in_utc()


def test_every_line_of_the_demo_has_a_fate(demo):
    assert demo.report["state"] == "published", demo.report
    assert demo.report["lines"] == sum(demo.report["fates"].values()), demo.report


def test_the_manifest_counts_the_rows_that_duckdb_and_pyarrow_read(demo, manifest, duckdb):
    for name, entry in manifest["tables"].items():
        query = f"SELECT count(*) FROM {parquet(demo.lake, name)} WHERE snapshot_date = DATE '{demo.DATE}'"
        rows = duckdb.execute(query).fetchone()[0]
        assert rows == entry["rows"], (name, rows, entry["rows"])
        assert ds.dataset(f"{demo.lake}/{name}", partitioning="hive").count_rows() == rows, name


def test_the_cost_is_the_same_in_table_manifest_and_report(demo, manifest, duckdb):
    cost = duckdb.execute(f"SELECT sum(cost_usd)::VARCHAR FROM {parquet(demo.lake, 'requests')}").fetchone()[0]
    assert cost == manifest["requests"]["cost_usd"] == demo.report["cost_usd"], cost


def test_the_summary_lies_with_the_run_and_only_the_manifest_with_the_snapshots(demo):
    summary = json.loads(pathlib.Path(demo.lake, f"_runs/{demo.DATE}/summary.json").read_text())
    assert summary["run"] == demo.report["run"], summary
    assert [file.name for file in pathlib.Path(demo.lake, "_snapshots").iterdir()] == [f"{demo.DATE}.json"]


def test_verify_finds_no_problem_in_the_demo(demo, backlake):
    backlake("verify", demo.lake)


def test_verify_exits_7_and_names_a_damaged_file(demo, backlake, tmp_path):
    lake = shutil.copytree(demo.lake, tmp_path / "lake")
    damaged = next(pathlib.Path(lake, "pages").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert damaged.name in backlake("verify", lake, code=7)


def test_reconcile_exits_7_if_the_provider_s_list_is_another(backlake, tmp_path):
    file = pipeline(tmp_path, tmp_path / "lake", write_lines(tmp_path / "targets.txt", ["site.com"]))
    args = ["--snapshot", "2026-11-23", "--base-url"]
    with backlake.simulator("2026-11-23") as provider:
        backlake("run", file, *args, provider, env=ACCOUNT)
        report = backlake.report("check", file, "--reconcile", *args, provider, env=ACCOUNT)
        assert report["reconciled"]["different"] == 0, report
    with backlake.simulator("2026-11-23") as other:
        report = backlake.report("check", file, "--reconcile", *args, other, env=ACCOUNT, code=7)
        assert report["reconciled"]["different"] == 1, report


def test_duckdb_and_pyarrow_read_the_same_numbers(demo, duckdb):
    pages = ds.dataset(f"{demo.lake}/pages", partitioning="hive").to_table()
    columns = [field.name for field in pages.schema if str(field.type) == "int64"]
    assert len(columns) >= 14, columns
    for name in columns:
        total = duckdb.execute(f"SELECT sum({name})::BIGINT FROM {parquet(demo.lake, 'pages')}").fetchone()[0]
        assert pc.sum(pages[name]).as_py() == total, name
    first, = duckdb.execute(f"SELECT epoch_us(min(first_seen)) FROM {parquet(demo.lake, 'pages')}").fetchone()
    assert pc.min(pages["first_seen"]).value == first


def test_duckdb_and_pyarrow_read_the_same_maps(demo, duckdb):
    pages = ds.dataset(f"{demo.lake}/pages", partitioning="hive").to_table()
    for name in MAPS.values():
        query = f"SELECT sum(cardinality({name})), count(*) - count({name}) FROM {parquet(demo.lake, 'pages')}"
        entries, nulls = duckdb.execute(query).fetchone()
        assert pages[name].null_count == nulls, name
        assert sum(len(row) for row in pages[name].to_pylist() if row is not None) == entries, name


def test_duckdb_sees_the_types_that_the_contract_promises(demo, duckdb):
    query = f"SELECT column_name, column_type FROM (DESCRIBE FROM {parquet(demo.lake, 'pages')})"
    types = dict(duckdb.execute(query).fetchall())
    assert types["first_seen"] == "TIMESTAMP WITH TIME ZONE" and types["snapshot_date"] == "DATE", types
    assert types["referring_links_tld"] == "MAP(VARCHAR, BIGINT)", types


@pytest.mark.parametrize("dimension", MAPS)
def test_breakdowns_are_the_unfolded_maps(demo, duckdb, dimension):
    field = MAPS[dimension]
    unfolded = (f"SELECT target, unnest(map_keys({field})) AS key, unnest(map_values({field})) AS links "
                f"FROM {parquet(demo.lake, 'pages')}")
    stored = f"SELECT target, key, links FROM {parquet(demo.lake, 'breakdowns')} WHERE dimension = '{dimension}'"
    for left, right in [(unfolded, stored), (stored, unfolded)]:
        assert duckdb.sql(f"({left}) EXCEPT ALL ({right})").fetchall() == []


def test_breakdowns_keep_empty_keys(demo, duckdb):
    empty, = duckdb.execute(f"SELECT count(*) FROM {parquet(demo.lake, 'breakdowns')} WHERE key = ''").fetchone()
    assert empty > 0


def test_prometheus_reads_the_metrics_of_the_run(demo):
    samples, report = {}, demo.report
    for family in text_string_to_metric_families(demo.metrics.read_text()):
        assert family.documentation and family.type != "unknown", family
        for sample in family.samples:
            assert sample.labels["pipeline"] == report["pipeline"]
            samples[sample.name, sample.labels.get("fate") or sample.labels.get("outcome")] = sample.value
    assert samples["backlake_run_exit_code", None] == 0 and samples["backlake_snapshot_published", None] == 1
    assert samples["backlake_requests_total", "ok"] == report["requests"], samples
    assert abs(samples["backlake_cost_usd_total", None] - float(report["cost_usd"])) < 1e-9
    for fate, lines in report["fates"].items():
        assert samples["backlake_lines", fate] == lines, fate
    assert samples["backlake_request_duration_seconds_count", None] == report["requests"]


def test_a_recorded_response_arrives_exactly(backlake, tmp_path):
    recorded = (ROOT / "data/responses/01_seed_bulk_pages_summary_ok.json").read_bytes()
    items = sorted(json.loads(recorded)["tasks"][0]["result"][0]["items"], key=lambda item: item["url"])
    targets, lake = write_lines(tmp_path / "targets.txt", [item["url"] for item in items]), tmp_path / "lake"
    with serve(lambda path, body: recorded) as provider:
        backlake("run", pipeline(tmp_path, lake, targets, base_url=provider), env=ACCOUNT)
    rows = in_utc().execute(f"SELECT * FROM {parquet(lake, 'pages')} ORDER BY url")
    names = [column[0] for column in rows.description]
    by_duckdb = [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
    by_pyarrow = ds.dataset(f"{lake}/pages", partitioning="hive").to_table().sort_by("url").to_pylist()
    for item, *read in zip(items, by_duckdb, by_pyarrow, strict=True):
        assert len(item) == 24
        for name, row in zip(["DuckDB", "pyarrow"], read, strict=True):
            for field, truth in item.items():
                value = row[field]
                if field in ("first_seen", "lost_date") and value is not None:
                    value = value.strftime("%Y-%m-%d %H:%M:%S +00:00")
                if field in MAPS.values() and value is not None:
                    value = dict(value)
                assert value == truth, f"{name}: {field} is {value!r} and was {truth!r}"
