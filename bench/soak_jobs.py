"""
Bulk jobs of many shapes, one after the other, for minutes: does each answer as the first time, and does anything grow?

    make soak-jobs
    make soak-jobs ARGS="--minutes 60"

Ends with 1 when a bar is missed: a job that ends otherwise or with other bytes than at first, a process that died or is
left as a zombie, memory or open files of which the last third took more than the one before. Jobs expire after minutes,
so that deleting them is under way as well.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import cycle
from pathlib import Path

import click
import httpx
import numpy as np

from bench import machine
from bench.processes import ROOT, NotServing, Weight, family, free_port, stop, weights
from bench.report import table

NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
START_S, JOB_S = 60.0, 120.0
"""Seconds that all has to come up, and that a job may take."""
GROWTH_SHARE, GROWTH_MIB, GROWTH_FILES = 0.02, 3.0, 3
"""What a process may take more in the last third than in the one before."""
JUDGED_FROM = 6
"""Minutes without which growth is not judged."""
LIVES_H = 0.05
"""Hours that a job is kept."""
ENDED = ("completed", "failed", "cancelled", "expired")


@dataclass(frozen=True)
class Shape:
    """A job as it is submitted each time: rows, closes of each, format; whether it is cancelled, or has bad rows."""

    rows: int
    days: int
    media_type: str
    cancelled: bool = False
    bad_every: int = 0

    def body(self) -> bytes:
        """Its upload, the same each time."""
        steps = np.random.default_rng(self.rows + self.days).standard_t(4, (self.rows, self.days)) * 0.01
        closes = np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2)
        if self.bad_every:
            closes[:: self.bad_every, 0] = -1
        named = [(f"series-{row}", own.tolist()) for row, own in enumerate(closes)]
        if self.media_type == CSV:
            return ("id,closes\n" + "".join(f"{name},{' '.join(map(str, own))}\n" for name, own in named)).encode()
        series = [{"id": name, "closes": own} for name, own in named]
        if self.media_type == JSON:
            return json.dumps({"series": series}).encode()
        return "\n".join(map(json.dumps, series)).encode()


SHAPES = (
    Shape(1, 2, JSON),
    Shape(10, 250, NDJSON),
    Shape(5_000, 60, NDJSON),
    Shape(300, 2_000, CSV),
    Shape(20_000, 20, CSV, bad_every=100),
    Shape(1_000, 250, JSON),
    Shape(20_000, 60, NDJSON, cancelled=True),
    Shape(50_000, 30, CSV),
)


@dataclass
class Minute:
    """What was seen in a minute: jobs by how they ended, what went wrong, what each process weighs, zombies."""

    ended: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    weights: dict[int, Weight] = field(default_factory=dict)
    zombies: int = 0


class Jobs:
    """Somebody who submits a shape, waits, and reads all that there is to read."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._first: dict[Shape, str] = {}
        self._bodies = {shape: shape.body() for shape in SHAPES}

    def run(self, shape: Shape) -> tuple[str, str]:
        """How a job ended, and what was wrong with it, or nothing."""
        answer = self._client.post("/v1/jobs", content=self._bodies[shape], headers={"Content-Type": shape.media_type})
        if answer.status_code != 202:
            return "refused", f"{shape}: {answer.status_code} {answer.text[:200]}"
        path = f"/v1/jobs/{answer.json()['id']}"
        if shape.cancelled:
            self._client.post(f"{path}/cancel").raise_for_status()
        job = self._ended(path)
        read = [self._read(path, kind, own) for kind in ("results", "errors") for own in (NDJSON, CSV)]
        return job["status"], self._wrong(shape, job, sha256(b"".join(read)).hexdigest())

    def _ended(self, path: str) -> dict:
        deadline = time.monotonic() + JOB_S
        while (job := self._client.get(path).raise_for_status().json())["status"] not in ENDED:
            if time.monotonic() > deadline:
                return job
            time.sleep(0.02)
        return job

    def _read(self, path: str, kind: str, media_type: str) -> bytes:
        return self._client.get(f"{path}/{kind}", headers={"Accept": media_type}).raise_for_status().content

    def _wrong(self, shape: Shape, job: dict, digest: str) -> str:
        bad = len(range(0, shape.rows, shape.bad_every)) if shape.bad_every else 0
        if shape.cancelled:
            return "" if job["status"] in ("cancelled", "completed") else f"{shape}: {job}"
        counts = {"total": shape.rows, "completed": shape.rows - bad, "failed": bad}
        if job["status"] != "completed" or job["counts"] != counts:
            return f"{shape}: {job}"
        return "" if self._first.setdefault(shape, digest) == digest else f"{shape}: other results than at first"


@contextmanager
def everything(folder: Path) -> Iterator[tuple[int, str]]:
    """`nextday up` in a folder: the id of its first process, and its address."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEXTDAY_")}
    env |= {"NEXTDAY_PORT": str(port), "NEXTDAY_RETENTION_H": str(LIVES_H), "NEXTDAY_ACCESS_LOG": "off"}
    env["PYTHONPATH"] = str(ROOT)
    with (folder / "said").open("wb") as said:
        command = [sys.executable, "-m", "nextday", "up"]
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=said, start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while "is ready" not in (folder / "said").read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotServing((folder / "said").read_text()[-500:])
            time.sleep(0.05)
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def zombies(leader: int) -> int:
    """Processes that have ended and that nobody of the family has waited for."""
    parents, found = set(family(leader)), 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = entry.read_text().rpartition(")")[2].split()[:2]
            found += state == "Z" and int(parent) in parents
    return found


def soak(leader: int, url: str, minutes: int, every_s: float) -> Iterator[Minute]:
    """Minutes of jobs."""
    with httpx.Client(base_url=url, timeout=JOB_S) as client:
        jobs, shapes = Jobs(client), cycle(SHAPES)
        for _ in range(minutes):
            seen, until = Minute(), time.monotonic() + every_s
            while time.monotonic() < until:
                ended, wrong = jobs.run(next(shapes))
                seen.ended[ended] = seen.ended.get(ended, 0) + 1
                seen.wrong += [wrong] if wrong else []
            seen.weights, seen.zombies = weights(leader), zombies(leader)
            yield seen


def missed(minutes: Sequence[Minute]) -> list[str]:
    """The bars that were missed, in words."""
    found = [what for each in minutes for what in each.wrong]
    if left := sum(each.zombies for each in minutes):
        found.append(f"{left} zombies were seen")
    if any(each.weights.keys() != minutes[0].weights.keys() for each in minutes):
        return [*found, "a process died, or another came"]
    if len(minutes) >= JUDGED_FROM:
        third = len(minutes) // 3
        found += _grown(minutes[third : 2 * third], minutes[-third:])
    return found


def _grown(before: Sequence[Minute], after: Sequence[Minute]) -> Iterator[str]:
    """
    A process takes more and less memory as jobs come and go, so the most that it took is compared.

    A file stays open for some seconds after a download, so how many are depends on the jobs just before; one that is
    never closed is among the fewest, too.
    """
    for pid in before[0].weights:
        was, now = (max(each.weights[pid].pss_mib for each in some) for some in (before, after))
        if now > was * (1 + GROWTH_SHARE) + GROWTH_MIB:
            yield f"process {pid} took up to {was:.1f} MiB, then {now:.1f}"
        had, has = (min(each.weights[pid].files for each in some) for some in (before, after))
        if has > had + GROWTH_FILES:
            yield f"process {pid} had {had} files open at least, then {has}"


def line(number: int, seen: Minute) -> list[str]:
    """A minute as cells."""
    each = [seen.weights[pid] for pid in sorted(seen.weights)]
    return [
        str(number),
        ", ".join(f"{count} {status}" for status, count in sorted(seen.ended.items())),
        str(len(seen.wrong)),
        " + ".join(f"{one.pss_mib:.1f}" for one in each),
        " + ".join(str(one.files) for one in each),
        str(seen.zombies),
    ]


HEAD = ["minute", "jobs", "wrong", "PSS of each process, MiB", "open files", "zombies"]


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long.")
@click.option("--every", default=60.0, show_default=True, help="Seconds of what is called a minute; for a short trial.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all minutes.")
def main(minutes: float, every: float, json_file: Path | None) -> None:
    """Run bulk jobs of many shapes for minutes."""
    about, seen = machine.facts(), []
    with tempfile.TemporaryDirectory() as folder, everything(Path(folder)) as (leader, url):
        names = {pid: _name(pid) for pid in family(leader)}
        for each in soak(leader, url, max(1, round(minutes * 60 / every)), every):
            seen.append(each)
            click.echo(" | ".join(line(len(seen), each)), err=True)
    if json_file:
        json_file.write_text(json.dumps({"machine": about, "minutes": [asdict(each) for each in seen]}, indent=1))
    said = io.StringIO()
    print(f"{about['cores']} cores, {about['processor']}; a minute is {every:g} s.\n", file=said)
    print(", ".join(f"{pid} {name}" for pid, name in sorted(names.items())) + "\n", file=said)
    print(table(HEAD, [line(number, each) for number, each in enumerate(seen, 1)]), file=said)
    if len(seen) < JUDGED_FROM:
        print("\ntoo short to judge growth", file=said)
    bars = missed(seen)
    print("\n" + ("\n".join(f"missed: {bar}" for bar in bars) or "every bar is met"), file=said)
    click.echo(said.getvalue())
    sys.exit(1 if bars else 0)


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return next((word for word in words if word in ("up", "serve", "worker")), Path(words[0]).name)


if __name__ == "__main__":
    main()
