"""A session of Spark that reads Iceberg. Its jar comes from a package of Python: nothing is downloaded."""

import importlib.util
from pathlib import Path

import spark_session


def session():
    """The session of this process."""
    package = Path(importlib.util.find_spec("snowpark_connect_deps_iceberg").origin).parent
    # The Spark of this environment is built with this Scala.
    jar, = package.glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar")
    return spark_session.session({
        "spark.jars": str(jar),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    })
