"""The machine that measures, and whether it is quiet enough to."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

QUIET = 0.1
"""Share of one core that others may use before measuring."""


def facts() -> dict[str, Any]:
    """What the machine is, and what it is busy with before anything of ours runs."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "busy_cores": round(busy_cores(1.0), 2),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def busy_cores(seconds: float) -> float:
    """Cores in use, or taken by the machine beneath this one, over some time."""
    before, began = _busy_s(), time.monotonic()
    time.sleep(seconds)
    return (_busy_s() - before) / (time.monotonic() - began)


def _busy_s() -> float:
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
