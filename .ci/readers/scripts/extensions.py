"""Loads DuckDB's extensions from packages of Python: nothing is downloaded."""

import importlib
from pathlib import Path

ALL = ["avro", "iceberg", "ducklake", "sqlite_scanner", "postgres_scanner", "httpfs"]


def load(connection, names=ALL):
    """Loads extensions into a connection."""
    for name in names:
        package = importlib.import_module(f"duckdb_extension_{name}")
        connection.execute(f"LOAD '{next(Path(package.__file__).parent.rglob('*.duckdb_extension'))}'")
