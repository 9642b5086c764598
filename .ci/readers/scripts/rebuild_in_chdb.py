"""Writes pages and breakdowns from the responses in FOLDER/json, sorted, with ClickHouse in the process:
rebuild_in_chdb.py FOLDER THREADS COUNTS MAPS. The last two name the fields, as JSON.
"""

import json
import sys

from chdb.session import Session

folder, threads = sys.argv[1], int(sys.argv[2])
counts, maps = map(json.loads, sys.argv[3:])
fields = {"url": "Nullable(String)", "first_seen": "Nullable(String)", "lost_date": "Nullable(String)"}
fields |= dict.fromkeys(counts, "Nullable(Int64)") | dict.fromkeys(maps.values(), "Map(String, Nullable(Int64))")
item = ", ".join(f"{name} {kind}" for name, kind in fields.items())
source = f"file('{folder}/json/*.json', 'JSONEachRow', 'tasks Array(Tuple(result Array(Tuple(items Array(Tuple({item}))))))')"
settings = (
    "SETTINGS input_format_skip_unknown_fields = 1, input_format_json_ignore_unknown_keys_in_named_tuple = 1, "
    "input_format_null_as_default = 1, output_format_parquet_compression_method = 'zstd', engine_file_truncate_on_insert = 1"
)
chdb = Session()
chdb.query(f"SET max_threads = {threads}")
columns = ", ".join(
    f"parseDateTimeBestEffortOrNull(item.{name}) AS {name}" if name in ("first_seen", "lost_date") else f"item.{name} AS {name}"
    for name in fields)
chdb.query("CREATE DATABASE race")
chdb.query(f"""
    CREATE TABLE race.items ENGINE = Memory AS
    SELECT {columns}, extract(url, '([^./]+\\.[^./]+)/') AS root_domain
    FROM (SELECT arrayJoin(tasks[1].result[1].items) AS item FROM {source}) {settings}""")
chdb.query(f"""
    INSERT INTO FUNCTION file('{folder}/pages.parquet', 'Parquet')
    SELECT * FROM race.items ORDER BY root_domain, url {settings}""")
unfolded = " UNION ALL ".join(
    f"SELECT root_domain, url, '{dimension}' AS dimension, entry.1 AS key, entry.2 AS links "
    f"FROM race.items ARRAY JOIN CAST({field}, 'Array(Tuple(String, Nullable(Int64)))') AS entry"
    for dimension, field in maps.items())
chdb.query(f"""
    INSERT INTO FUNCTION file('{folder}/breakdowns.parquet', 'Parquet')
    SELECT * FROM ({unfolded}) ORDER BY root_domain, url, dimension {settings}""")
