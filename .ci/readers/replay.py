"""How fast a snapshot is rebuilt: `backlake replay` beside DuckDB, on the same answers, in the same run.

Usage: replay.py BINARY [ANSWERS]. An answer holds 1,000 rows. backlake does all it does: four tables, sorted, audited,
published. DuckDB, with two threads, reads the same JSON into a table and writes pages and breakdowns, sorted.
The full measurement takes 1,000 answers, and is to reach three times DuckDB on two quiet cores. CI measures 200 on
whatever machine it is given, and fails only where something has become much slower.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pyarrow

BINARY = sys.argv[1]
ANSWERS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
AT_LEAST = 3.0 if ANSWERS >= 1000 else 2.0
COUNTS = """rank main_domain_rank backlinks backlinks_spam_score broken_backlinks broken_pages referring_domains
    referring_domains_nofollow referring_main_domains referring_main_domains_nofollow referring_ips referring_subnets
    referring_pages referring_pages_nofollow""".split()
MAPS = {"tld": "tld", "type": "types", "attribute": "attributes", "platform_type": "platform_types",
        "semantic_location": "semantic_locations", "country": "countries"}


def measured(args, **more):
    """Runs a process; returns its output, seconds and peak megabytes."""
    start = time.monotonic()
    process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True, **more)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{args[0]} exited {process.returncode}"
    return output, time.monotonic() - start, usage.ru_maxrss / 1024


def fill(folder):
    """A lake with a published snapshot of so many full answers, and the pipeline file."""
    targets = folder / "targets.txt"
    targets.write_text("".join(f"https://www.site{n // 40}.com/blog/post-{n}\n" for n in range(ANSWERS * 1000)))
    pipeline = folder / "pipeline.toml"
    pipeline.write_text(
        f'name = "replay"\nendpoint = "backlinks/bulk_pages_summary"\nsnapshot = "2026-11-23"\n'
        f'[targets]\npaths = ["{targets}"]\n[api]\nbase_url = "simulator"\nrequests_per_minute = 10000\n'
        f'[lake]\nurl = "{folder}/lake"\n'
    )
    subprocess.run([BINARY, "run", str(pipeline), "--quiet"], check=True, stderr=subprocess.DEVNULL)
    return pipeline


def unpack(folder):
    """The answers as plain JSON files; returns their bytes."""
    (folder / "json").mkdir()
    size = 0
    for packed in sorted((folder / "lake/_archive/2026-11-23").iterdir()):
        body = pyarrow.input_stream(str(packed), compression="zstd").read()
        (folder / "json" / packed.name.removesuffix(".zst")).write_bytes(body)
        size += len(body)
    return size


def by_duckdb(folder):
    """The work as a DuckDB script writes it; run in a process of its own."""
    import duckdb

    fields = {"url": "VARCHAR", "first_seen": "VARCHAR", "lost_date": "VARCHAR"}
    fields |= {name: "BIGINT" for name in COUNTS} | {f"referring_links_{m}": "MAP(VARCHAR, BIGINT)" for m in MAPS.values()}
    item = ", ".join(f"{name} {kind}" for name, kind in fields.items())
    columns = f"{{tasks: 'STRUCT(id VARCHAR, result STRUCT(items STRUCT({item})[])[])[]'}}"
    connection = duckdb.connect(f"{folder}/work.duckdb", config={"threads": 2})
    connection.execute(f"SET temp_directory = '{folder}'")
    connection.execute(f"""
        CREATE TABLE items AS
        SELECT *, regexp_extract(url, '([^./]+\\.[^./]+)/', 1) AS root_domain
        FROM (SELECT unnest(tasks[1].result[1].items, max_depth := 2)
              FROM read_json('{folder}/json/*.json', columns = {columns}, maximum_object_size = 100000000))""")
    times = ", ".join(
        f"strptime({name}, '%Y-%m-%d %H:%M:%S %z') AS {name}" for name in ("first_seen", "lost_date"))
    connection.execute(f"""
        COPY (SELECT * REPLACE ({times}) FROM items ORDER BY root_domain, url)
        TO '{folder}/pages.parquet' (FORMAT parquet, COMPRESSION zstd)""")
    unfolded = " UNION ALL ".join(
        f"SELECT '{name}' AS dimension, root_domain, url, unnest(map_keys(referring_links_{field})) AS key, "
        f"unnest(map_values(referring_links_{field})) AS links FROM items" for name, field in MAPS.items())
    connection.execute(f"""
        COPY (SELECT * FROM ({unfolded}) ORDER BY dimension, root_domain, url)
        TO '{folder}/breakdowns.parquet' (FORMAT parquet, COMPRESSION zstd)""")
    rows = [connection.sql(f"SELECT count(*) FROM '{folder}/{name}.parquet'").fetchall()[0][0] for name in ("pages", "breakdowns")]
    print(json.dumps(rows))


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pipeline = fill(folder)
        size = unpack(folder)
        manifest = json.loads((folder / "lake/_snapshots/2026-11-23.json").read_text())
        rows = manifest["tables"]["pages"]["rows"], manifest["tables"]["breakdowns"]["rows"]
        report, seconds, peak = measured([BINARY, "replay", str(pipeline), "--output", "json", "--quiet"])
        report = json.loads(report)
        assert (report["state"], report["items"]) == ("published", rows[0]), report
        again = json.loads((folder / "lake/_snapshots/2026-11-23.json").read_text())
        assert again["tables"] == manifest["tables"], "a replay of the same answers gives the same files"
        theirs, duckdb_seconds, duckdb_peak = measured([sys.executable, __file__, BINARY, "0", str(folder)])
        assert tuple(json.loads(theirs)) == rows, (theirs, rows)
        ratio = duckdb_seconds / seconds
        print(f"  {ANSWERS} answers, {size / 1e6:.0f} MB of JSON, {rows[0]:,} pages, {rows[1]:,} breakdowns")
        for name, took, most in [("backlake", seconds, peak), ("DuckDB", duckdb_seconds, duckdb_peak)]:
            print(f"  {name:<10}{took:7.2f} s {size / 1e6 / took:7.0f} MB/s {rows[0] / took:12,.0f} rows/s {most:7.0f} MB")
        print("  backlake's stages, in seconds over all threads: "
              + ", ".join(f"{stage} {took:.2f}" for stage, took in report["stage_seconds"].items()))
        print(f"  {ratio:.2f} times DuckDB")
        assert ratio >= AT_LEAST, f"{ratio:.2f} is less than {AT_LEAST} times DuckDB"
        assert ANSWERS < 1000 or peak < 1200, f"{peak:.0f} MB of memory are too much"


if len(sys.argv) == 4:
    by_duckdb(sys.argv[3])
else:
    main()
