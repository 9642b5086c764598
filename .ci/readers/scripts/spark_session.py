"""A session of Spark, with what all tests need."""

from pyspark.sql import SparkSession


def session(settings):
    """The session of this process, with more settings."""
    builder = SparkSession.builder.master("local[2]")
    common = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
    }
    for key, value in (common | settings).items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    # Failures are raised; the rest of the log is noise.
    spark.sparkContext.setLogLevel("OFF")
    return spark
