"""Reads a day of the log with pandas, as the README does, and prints what a query over it gives."""
import json
import sys

import pandas as pd

day = ("day", "==", "2026-11-28")
flows = pd.read_parquet(sys.argv[1], filters=[day])
dropped = pd.read_parquet(sys.argv[1], filters=[day, ("verdict", "==", "drop")])
groups = dropped.groupby(["src_ip", "dest_port"], observed=True, dropna=False).size()
micros = lambda time: int(time.value // 1000)
row = [
    len(flows), flows.bytes_toserver.sum(), flows.src_ip.nunique(), flows.hour.nunique(), groups.sum(),
    flows.src_port.count(), flows.src_device.count(), flows.coverage.min(),
    micros(flows.start_time.min()), micros(flows.logged_time.max()),
]
print(json.dumps({"row": [float(value) for value in row], "types": {name: str(kind) for name, kind in flows.dtypes.items()}}))
