"""Reads a day of the log with ClickHouse, as the README does, and prints what a query over it gives."""
import json
import sys

import chdb

flows = f"file('{sys.argv[1]}/day=*/hour=*/*.parquet')"
row = json.loads(str(chdb.query(f"""
    SELECT count(), sum(bytes_toserver), uniqExact(src_ip), uniqExact(hour),
           countIf(verdict = 'drop'), count(src_port), count(src_device), min(coverage),
           toUnixTimestamp64Micro(min(start_time)), toUnixTimestamp64Micro(max(logged_time))
    FROM {flows} WHERE day = '2026-11-28'
""", "JSONCompact")))["data"][0]
top = json.loads(str(chdb.query(f"""
    SELECT src_ip, dest_ip, sum(bytes_toserver) AS bytes FROM {flows}
    WHERE day = '2026-11-28' GROUP BY ALL ORDER BY bytes DESC LIMIT 10
""", "JSONCompact")))["data"]
assert len(top) == 10, top
kinds = json.loads(str(chdb.query(f"DESCRIBE {flows}", "JSONCompact")))["data"]
print(json.dumps({"row": [float(value) for value in row], "types": {name: kind for name, kind, *_ in kinds}}))
