"""A session of Spark that reads Iceberg. Its jar comes from a package of Python: nothing is downloaded."""

import importlib.util
from pathlib import Path

from pyspark.sql import SparkSession


def session():
    """The session of this process."""
    package = Path(importlib.util.find_spec("snowpark_connect_deps_iceberg").origin).parent
    # The Spark of this environment is built with this Scala.
    jar, = package.glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar")
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", str(jar))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .getOrCreate()
    )
    # Failures are raised; the rest of the log is noise.
    spark.sparkContext.setLogLevel("OFF")
    return spark
