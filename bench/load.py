"""`wrk` as the load: as many requests as a server answers over some connections, and how long each took."""

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Running
from bench.questions import Rows, Wire

SCRIPT = """
wrk.method = "POST"
{headers}
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {{"requests":%d,"us":%d,"p50_us":%f,"p99_us":%f,"errors":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class LoadFailed(Exception):
    """Requests that were not answered, or not with success."""


@dataclass(frozen=True)
class Speed:
    """
    What `wrk` saw.

    Attributes:
        rate: Requests a second.
        p50_ms: Median time of a request.
        p99_ms: Its 99th percentile.
    """

    rate: float
    p50_ms: float
    p99_ms: float


def wrk(server: Running, wire: Wire, rows: Rows, *, connections: int, seconds: int) -> Speed:
    """
    How fast a server answers the same question, asked again on each connection as soon as it is answered.

    Raises:
        LoadFailed: A request failed; its time would count as that of an answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "script.lua"
        body.write_bytes(wire.body(rows))
        script.write_text(SCRIPT.format(headers=_lua_headers(wire.headers(rows)), body=body))
        load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        done = subprocess.run([*load, server.url + wire.path], capture_output=True, text=True, check=False)
    return read(done.stdout or done.stderr)


def _lua_headers(headers: Mapping[str, str]) -> str:
    return "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())


def read(said: str) -> Speed:
    """
    The speed in what `wrk` has printed.

    Raises:
        LoadFailed: As for `wrk`.
    """
    found = re.search(r"RESULT (\{.*\})", said)
    if not found:
        raise LoadFailed(f"wrk says: {said.strip()[-300:]}")
    counts = json.loads(found[1])
    if counts["errors"] or not counts["requests"]:
        raise LoadFailed(f"{counts['errors']} of {counts['requests']} requests failed")
    return Speed(counts["requests"] / counts["us"] * 1e6, counts["p50_us"] / 1000, counts["p99_us"] / 1000)
