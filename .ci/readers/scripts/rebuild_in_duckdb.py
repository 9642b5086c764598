"""Writes pages and breakdowns from the responses in FOLDER/json, sorted, as a DuckDB script would:
rebuild_in_duckdb.py FOLDER THREADS COUNTS MAPS. The last two name the fields, as JSON.
"""

import json
import sys

import duckdb

folder, threads = sys.argv[1], int(sys.argv[2])
counts, maps = map(json.loads, sys.argv[3:])
fields = {"url": "VARCHAR", "first_seen": "VARCHAR", "lost_date": "VARCHAR"}
fields |= dict.fromkeys(counts, "BIGINT") | dict.fromkeys(maps.values(), "MAP(VARCHAR, BIGINT)")
item = ", ".join(f"{name} {kind}" for name, kind in fields.items())
columns = f"{{tasks: 'STRUCT(id VARCHAR, result STRUCT(items STRUCT({item})[])[])[]'}}"
connection = duckdb.connect(f"{folder}/work.duckdb", config={"threads": threads})
connection.execute(f"SET temp_directory = '{folder}'")
connection.execute(f"""
    CREATE OR REPLACE TABLE items AS
    SELECT *, regexp_extract(url, '([^./]+\\.[^./]+)/', 1) AS root_domain
    FROM (SELECT unnest(tasks[1].result[1].items, max_depth := 2)
          FROM read_json('{folder}/json/*.json', columns = {columns}, maximum_object_size = 100000000))""")
times = ", ".join(f"strptime({name}, '%Y-%m-%d %H:%M:%S %z') AS {name}" for name in ("first_seen", "lost_date"))
connection.execute(f"""
    COPY (SELECT * REPLACE ({times}) FROM items ORDER BY root_domain, url)
    TO '{folder}/pages.parquet' (FORMAT parquet, COMPRESSION zstd)""")
unfolded = " UNION ALL ".join(
    f"SELECT '{dimension}' AS dimension, root_domain, url, unnest(map_keys({field})) AS key, "
    f"unnest(map_values({field})) AS links FROM items" for dimension, field in maps.items())
connection.execute(f"""
    COPY (SELECT * FROM ({unfolded}) ORDER BY root_domain, url, dimension)
    TO '{folder}/breakdowns.parquet' (FORMAT parquet, COMPRESSION zstd)""")
