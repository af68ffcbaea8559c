"""
Becomes an `mlserver start` whose settings lie in the current folder.

    mlserver_app.py PORT WORKERS BATCH      requests a batch; 0 for no adaptive batching
"""

import json
import os
import sys
from pathlib import Path

port, workers, batch = map(int, sys.argv[1:])
quiet = {"version": 1, "disable_existing_loggers": True, "root": {"level": "ERROR"}}
settings = {"debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
settings |= {"parallel_workers": workers, "metrics_endpoint": None, "gzip_enabled": False, "logging_settings": quiet}
model = {"name": "lstm", "implementation": "mlserver_runtime.Forecasts"}
if batch:
    model |= {"max_batch_size": batch, "max_batch_time": 0.002}
Path("settings.json").write_text(json.dumps(settings))
Path("model-settings.json").write_text(json.dumps(model))
program = Path(sys.executable).with_name("mlserver")
os.execv(program, ["mlserver", "start", "."])
