"""Runs documentation examples in the current folder, in one process. Reads a JSON list of [KIND, CODE] from standard input and
prints a JSON list of results.

    lines     Python, of which each line gives rows: the result is their number for each line
    python    a program: the result is null
    sql       a query of DuckDB: the result is its rows, as text

Examples may use `spark`. DuckDB's extensions are loaded first; otherwise the examples would download them.
"""

import json
import sys

import duckdb
import polars
from pyiceberg.table import StaticTable

import extensions
from iceberg_spark import session


def rows(found):
    """How many rows an engine has found."""
    if isinstance(found, duckdb.DuckDBPyRelation):
        return len(found.fetchall())
    if isinstance(found, polars.LazyFrame):
        return found.collect().height
    return found.count() if hasattr(found, "toDF") else found.num_rows


def result(kind, code):
    """The result of an example."""
    if kind == "sql":
        return [[str(value) for value in row] for row in duckdb.sql(code).fetchall()]
    if kind == "python":
        return exec(code, {"spark": session()} if "spark" in code else {})
    known = {"duckdb": duckdb, "polars": polars, "StaticTable": StaticTable, "spark": session()}
    return [[line, rows(eval(line, known))] for line in code.splitlines()]


extensions.load(duckdb.default_connection(), [*extensions.ALL, "delta"])
answers = [result(kind, code) for kind, code in json.load(sys.stdin)]
print(json.dumps(answers))
