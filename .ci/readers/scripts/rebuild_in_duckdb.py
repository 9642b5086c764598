"""Writes pages and breakdowns from the responses in FOLDER/json, sorted, with two threads, as a DuckDB script would:
rebuild_in_duckdb.py FOLDER COUNTS MAPS. The last two name the fields, as JSON; the rows of both tables are printed as JSON.
"""

import json
import sys

import duckdb

folder, counts, maps = sys.argv[1], *map(json.loads, sys.argv[2:])
fields = {"url": "VARCHAR", "first_seen": "VARCHAR", "lost_date": "VARCHAR"}
fields |= dict.fromkeys(counts, "BIGINT") | dict.fromkeys(maps.values(), "MAP(VARCHAR, BIGINT)")
item = ", ".join(f"{name} {kind}" for name, kind in fields.items())
columns = f"{{tasks: 'STRUCT(id VARCHAR, result STRUCT(items STRUCT({item})[])[])[]'}}"
connection = duckdb.connect(f"{folder}/work.duckdb", config={"threads": 2})
connection.execute(f"SET temp_directory = '{folder}'")
connection.execute(f"""
    CREATE TABLE items AS
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
    COPY (SELECT * FROM ({unfolded}) ORDER BY dimension, root_domain, url)
    TO '{folder}/breakdowns.parquet' (FORMAT parquet, COMPRESSION zstd)""")
print(json.dumps([connection.sql(f"SELECT count(*) FROM '{folder}/{name}.parquet'").fetchall()[0][0]
                  for name in ("pages", "breakdowns")]))
