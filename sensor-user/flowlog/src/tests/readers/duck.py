"""Reads a day of the log with DuckDB, as the README does, and prints what a query over it gives."""
import json
import sys

import duckdb

root = sys.argv[1]
flows = f"read_parquet('{root}/day=*/hour=*/*.parquet', hive_partitioning = true)"
row = duckdb.sql(f"""
    SELECT count(*), sum(bytes_toserver), count(DISTINCT src_ip), count(DISTINCT hour),
           count(*) FILTER (verdict = 'drop'), count(src_port), count(src_device), min(coverage),
           epoch_us(min(start_time)), epoch_us(max(logged_time))
    FROM {flows} WHERE day = '2026-11-28'
""").fetchall()
kinds = duckdb.sql(f"DESCRIBE SELECT * FROM {flows}").fetchall()
print(json.dumps({"row": [float(value) for value in row[0]], "types": {name: kind for name, kind, *_ in kinds}}))
