"""Reads a day of the log with Spark, as the README does, and prints what a query over it gives."""
import json
import sys

from pyspark.sql import SparkSession, functions as f

spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "1").getOrCreate()
)
flows = spark.read.parquet(sys.argv[1])
row = flows.where("day = '2026-11-28'").agg(
    f.count("*"), f.sum("bytes_toserver"), f.countDistinct("src_ip"), f.countDistinct("hour"),
    f.count(f.when(f.col("verdict") == "drop", 1)), f.count("src_port"), f.count("src_device"), f.min("coverage"),
    f.unix_micros(f.min("start_time")), f.unix_micros(f.max("logged_time")),
).first()
print(json.dumps({"row": [float(value) for value in row], "types": dict(flows.dtypes)}))
