"""Checks against real readers: DuckDB, pyarrow and the provider's official client. Each check is a promise."""

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import traceback

import duckdb
import pyarrow.compute as pc
import pyarrow.dataset as ds
from prometheus_client.parser import text_string_to_metric_families

BINARY = sys.argv[1]
ROOT = pathlib.Path(__file__).resolve().parents[2]
MAPS = [
    "referring_links_tld",
    "referring_links_types",
    "referring_links_attributes",
    "referring_links_platform_types",
    "referring_links_semantic_locations",
    "referring_links_countries",
]
# As `backlake simulate` prints them; no real account.
LOGIN, PASSWORD = "simulator@example.com", "not-a-real-password"


def backlake(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLAKE_", "DATAFORSEO_"))}
    done = subprocess.run([BINARY, *args], cwd=ROOT, env=clean | env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"backlake {' '.join(args)} exited {done.returncode}: {done.stderr}"
    return done.stdout


def connect():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def table(lake, name):
    return f"read_parquet('{lake}/{name}/*/*.parquet', hive_partitioning = true)"


def the_demo_runs_and_is_what_its_manifest_says(lake):
    report = json.loads(backlake("run", "pipelines/demo.toml", "--lake", lake, "--output", "json"))
    assert report["state"] == "published", report
    assert report["lines"] == sum(report["fates"].values()), report
    manifest = json.loads(pathlib.Path(lake, "_snapshots/2026-11-23.json").read_text())
    connection = connect()
    for name, entry in manifest["tables"].items():
        rows = connection.execute(f"SELECT count(*) FROM {table(lake, name)} WHERE snapshot_date = DATE '2026-11-23'").fetchone()[0]
        assert rows == entry["rows"], (name, rows, entry["rows"])
        assert ds.dataset(f"{lake}/{name}", partitioning="hive").count_rows() == rows, name
    cost = connection.execute(f"SELECT sum(cost_usd)::VARCHAR FROM {table(lake, 'requests')}").fetchone()[0]
    assert cost == manifest["requests"]["cost_usd"] == report["cost_usd"], cost
    backlake("verify", lake)


def duckdb_and_pyarrow_read_the_same(lake):
    connection = connect()
    pages = ds.dataset(f"{lake}/pages", partitioning="hive").to_table()
    for field in pages.schema:
        if str(field.type) == "int64":
            total = connection.execute(f"SELECT sum({field.name})::BIGINT FROM {table(lake, 'pages')}").fetchone()[0]
            assert pc.sum(pages[field.name]).as_py() == total, field.name
        if field.name in MAPS:
            entries, nulls = connection.execute(
                f"SELECT sum(cardinality({field.name})), count(*) - count({field.name}) FROM {table(lake, 'pages')}"
            ).fetchone()
            assert pages[field.name].null_count == nulls, field.name
            assert sum(len(row) for row in pages[field.name].to_pylist() if row is not None) == entries, field.name
    first, = connection.execute(f"SELECT epoch_us(min(first_seen)) FROM {table(lake, 'pages')}").fetchone()
    assert pc.min(pages["first_seen"]).value == first
    types = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {table(lake, 'pages')})").fetchall())
    assert types["first_seen"] == "TIMESTAMP WITH TIME ZONE" and types["snapshot_date"] == "DATE", types
    assert types["referring_links_tld"] == "MAP(VARCHAR, BIGINT)", types


def prometheus_reads_the_metrics(_):
    with tempfile.TemporaryDirectory() as folder:
        metrics = f"{folder}/backlake.prom"
        report = json.loads(
            backlake("run", "pipelines/demo.toml", "--lake", f"{folder}/lake", "--output", "json", "--metrics-file", metrics)
        )
        families = list(text_string_to_metric_families(pathlib.Path(metrics).read_text()))
    samples = {}
    for family in families:
        assert family.documentation and family.type != "unknown", family
        for sample in family.samples:
            assert sample.labels["pipeline"] == report["pipeline"]
            samples[(sample.name, sample.labels.get("fate") or sample.labels.get("outcome"))] = sample.value
    assert samples["backlake_run_exit_code", None] == 0 and samples["backlake_snapshot_published", None] == 1
    assert samples["backlake_requests_total", "ok"] == report["requests"], samples
    assert abs(samples["backlake_cost_usd_total", None] - float(report["cost_usd"])) < 1e-9
    for fate, lines in report["fates"].items():
        assert samples["backlake_lines", fate] == lines, fate
    assert samples["backlake_request_duration_seconds_count", None] == report["requests"]


def breakdowns_are_the_maps_unfolded(lake):
    connection = connect()
    for field, dimension in zip(MAPS, ["tld", "type", "attribute", "platform_type", "semantic_location", "country"]):
        unfolded = f"""
            SELECT target, unnest(map_keys({field})) AS key, unnest(map_values({field})) AS links FROM {table(lake, 'pages')}"""
        stored = f"SELECT target, key, links FROM {table(lake, 'breakdowns')} WHERE dimension = '{dimension}'"
        for left, right in [(unfolded, stored), (stored, unfolded)]:
            assert connection.sql(f"({left}) EXCEPT ALL ({right})").fetchall() == [], dimension
    empty, = connection.execute(f"SELECT count(*) FROM {table(lake, 'breakdowns')} WHERE key = ''").fetchone()
    assert empty > 0, "no empty keys came through"


def the_readme_s_queries_give_the_readme_s_numbers(lake):
    text = (ROOT / "README.md").read_text()
    pairs = re.findall(r"```sql\n(.*?)```\n+```text\n(.*?)```", text, re.DOTALL)
    assert len(pairs) >= 2, "the README shows no queries"
    connection = connect()
    for query, shown in pairs:
        result = connection.sql(query.replace("'lake/", f"'{lake}/"))
        rows = [result.columns, *([str(value) for value in row] for row in result.fetchall())]
        found = [[cell.strip() for cell in line.strip().strip("│|").split("|")] for line in shown.strip().splitlines()]
        found = [row for row in found if not set("".join(row)) <= set("-: ")]
        assert found == rows, f"{query}\nthe README shows {found}\nDuckDB says {rows}"


def recorded_answer_arrives_exactly(_):
    recorded = (ROOT / "data/responses/01_seed_bulk_pages_summary_ok.json").read_bytes()
    items = json.loads(recorded)["tasks"][0]["result"][0]["items"]

    class Provider(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(recorded)))
            self.end_headers()
            self.wfile.write(recorded)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        targets = pathlib.Path(folder, "targets.txt")
        targets.write_text("".join(item["url"] + "\n" for item in items))
        pipeline = pathlib.Path(folder, "pipeline.toml")
        pipeline.write_text(
            f'name = "recorded"\nendpoint = "backlinks/bulk_pages_summary"\n[targets]\npaths = ["{targets}"]\n'
            f'[api]\nbase_url = "http://127.0.0.1:{server.server_port}"\n[lake]\nurl = "{folder}/lake"\n'
        )
        backlake("run", str(pipeline), DATAFORSEO_LOGIN=LOGIN, DATAFORSEO_PASSWORD=PASSWORD)
        server.shutdown()
        by_duckdb = connect().execute(f"SELECT * FROM {table(folder + '/lake', 'pages')} ORDER BY url").fetchall()
        names = [column[0] for column in connect().execute(f"DESCRIBE FROM {table(folder + '/lake', 'pages')}").fetchall()]
        by_pyarrow = ds.dataset(f"{folder}/lake/pages", partitioning="hive").to_table().sort_by("url").to_pylist()
    for item, duck, arrow in zip(sorted(items, key=lambda item: item["url"]), by_duckdb, by_pyarrow, strict=True):
        assert len(item) == 24
        duck = dict(zip(names, duck))
        for field, truth in item.items():
            for name, value in [("DuckDB", duck[field]), ("pyarrow", arrow[field])]:
                if field in ("first_seen", "lost_date") and value is not None:
                    value = value.strftime("%Y-%m-%d %H:%M:%S +00:00")
                if field in MAPS and value is not None:
                    value = dict(value)
                assert value == truth, f"{name}: {field} is {value!r} and was {truth!r}"


def the_official_client_is_content_with_the_simulator(_):
    from dataforseo_client import api_client, configuration
    from dataforseo_client.api.appendix_api import AppendixApi
    from dataforseo_client.api.backlinks_api import BacklinksApi
    from dataforseo_client.models.backlinks_bulk_pages_summary_live_request_info import (
        BacklinksBulkPagesSummaryLiveRequestInfo as Request,
    )

    server = subprocess.Popen([BINARY, "simulate", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", server.stdout.readline()).group()
        config = configuration.Configuration(host=url, username=LOGIN, password=PASSWORD)
        targets = [f"https://example{n % 40}.com/page/{n}" for n in range(500)] + [f"domain{n}.org" for n in range(50)]
        with api_client.ApiClient(config) as client:
            backlinks = BacklinksApi(client)
            answer = backlinks.bulk_pages_summary_live([Request(targets=targets, tag="official")])
            task = answer.tasks[0]
            assert (answer.status_code, task.status_code, task.data["tag"]) == (20000, 20000, "official"), task
            items = task.result[0].items
            assert 500 < len(items) == task.result[0].items_count, len(items)
            known = {name for name in type(items[0]).model_fields}
            assert any(item.referring_links_tld for item in items) and "referring_links_countries" in known
            # Whatever the client's model does not know would stand apart.
            assert all(not getattr(item, "additional_properties", None) for item in items)
            assert abs(answer.cost - (0.024 + 0.000036 * len(items))) < 1e-9, answer.cost
            refused = backlinks.bulk_pages_summary_live([Request(targets=["www.example.com"])])
            assert refused.tasks[0].status_code == 40501 and refused.tasks[0].cost == 0, refused
            account = AppendixApi(client).user_data()
            assert account.status_code == 20000 and account.tasks[0].result, account
    finally:
        server.kill()


def main():
    failed = 0
    checks = [
        the_demo_runs_and_is_what_its_manifest_says,
        duckdb_and_pyarrow_read_the_same,
        prometheus_reads_the_metrics,
        breakdowns_are_the_maps_unfolded,
        the_readme_s_queries_give_the_readme_s_numbers,
        recorded_answer_arrives_exactly,
        the_official_client_is_content_with_the_simulator,
    ]
    with tempfile.TemporaryDirectory() as folder:
        for check in checks:
            try:
                check(f"{folder}/lake")
                print(f"ok      {check.__name__}")
            except Exception:
                failed += 1
                print(f"FAILED  {check.__name__}\n{traceback.format_exc()}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
