"""Reads Delta tables of a lake by DuckDB's delta extension: delta_in_duckdb.py LAKE DATE TABLE...

DuckDB ships the extension as a package for its own version only, so this runs in an environment of its own. Prints as JSON
each table's rows by date and its types, the explained scan of a dimension on DATE, and the cost.
"""

import json
import sys

import duckdb

from extensions import load

lake, date, *tables = sys.argv[1:]
connection = duckdb.connect(config={"allow_unsigned_extensions": "false", "autoinstall_known_extensions": "false"})
load(connection, ["delta"])
connection.execute("SET TimeZone = 'UTC'")
found = {}
for name in tables:
    scan = f"delta_scan('{lake}/{name}')"
    rows = connection.execute(f"SELECT snapshot_date::VARCHAR, count(*) FROM {scan} GROUP BY ALL ORDER BY ALL").fetchall()
    types = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {scan})").fetchall())
    found[name] = {"rows": rows, "types": types}
scan = f"delta_scan('{lake}/breakdowns')"
query = f"EXPLAIN ANALYZE SELECT count(*) FROM {scan} WHERE dimension = 'tld' AND snapshot_date = DATE '{date}'"
found["explained"] = connection.execute(query).fetchall()[0][1]
# The extremes of a column are found through the log's statistics: what is cut short there must not lose a row.
scan = f"delta_scan('{lake}/pages')"
for value in ("min(fetched_at)", "max(fetched_at)", "max(url)", "min(url)"):
    column = value[4:-1]
    query = f"SELECT count(*) FROM {scan} WHERE {column} = (SELECT {value} FROM {scan})"
    assert connection.execute(query).fetchone()[0] > 0, value
found["cost"] = connection.execute(f"SELECT sum(cost_usd)::VARCHAR FROM delta_scan('{lake}/requests')").fetchone()[0]
print(json.dumps(found))
