"""
Bulk jobs end to end, beside the limit: bare processes that run the same graph over the same rows.

    make bench-bulk                                  everything, three rounds; a quarter of an hour
    make bench-bulk ARGS="--parts lanes --rounds 1"  only how fast data goes in and out
    make bench-bulk ARGS="--profile"                 where a worker's time goes that is not onnxruntime's; needs py-spy

Rows a second count from the first byte of the upload that is sent to the last byte of the results that is received,
over HTTP, against an installation that is started for it. The limit is measured before and after each job.
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from bench import bulk_profile, bulk_report, bulk_trials, installs, machine
from bench.bulk_check import Answers
from bench.bulk_data import Series
from bench.bulk_goals import LANES, MILLION, SERIES, Lane
from bench.bulk_http import Caller
from bench.bulk_limit import Limit, limit_of
from bench.bulk_watch import cpu_of
from bench.installation import Installation, installed
from bench.processes import ROOT
from models.bundle import folder_of

PROCESSES = 2
"""Of the limit: as many as a worker has threads here, or as there are workers."""
PARTS = ("lanes", "small", "workers", "million")


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="nextday-bulk-") as folder:
        yield Path(folder)


def timed(running: Installation, lane: Lane, answers: Answers, limit: Limit, folder: Path) -> dict[str, Any]:
    """One job by a lane, its answers compared, and the limit before and after it."""
    answers.series.file(lane.given)  # made before anything is measured
    before = limit.score()
    cpu_before = {**cpu_of(running), "caller": time.process_time()}
    took = bulk_trials.travel(Caller(running.port), lane, answers.series, folder)
    cpu_after = {**cpu_of(running), "caller": time.process_time()}
    after = limit.score()
    answers.check(folder / "results", lane.taken)
    return {
        "lane": lane.name,
        "series": answers.series.name,
        "rows": answers.series.rows,
        **asdict(took),
        "seconds": took.seconds,
        "limit_s": (before.seconds + after.seconds) / 2,
        "limit_cpu_s": (before.cpu_s + after.cpu_s) / 2,
        "sub_batch": limit.sub_batch,
        "cpu_s": {part: cpu_after[part] - cpu_before[part] for part in cpu_after},
    }


def lanes(running: Installation, able: list[Lane], sets: list[Series], rounds: int, folder: Path) -> Iterator[dict]:
    """All lanes for all series, a round after the other, and one job beforehand that does not count."""
    model = folder_of(ROOT / "models" / "store", "lstm") / "model.onnx"
    for series in sets:
        answers = Answers(series)
        with limit_of(series, model, PROCESSES) as limit:
            timed(running, able[0], answers, limit, folder)  # as the limit's processes have run before, too
            for number in range(1, rounds + 1):
                for lane in able:
                    click.echo(f"round {number} of {rounds}: {series.name}, {lane.name}", err=True)
                    yield {"round": number, **timed(running, lane, answers, limit, folder)}


def measure(parts: list[str], sets: list[Series], large: Series, rounds: int, folder: Path) -> dict[str, Any]:
    """All that is asked for."""
    found: dict[str, Any] = {}
    with installed(folder / "one", workers=1, worker_threads=str(PROCESSES), **bulk_trials.SETTINGS) as running:
        able, found["not_offered"] = bulk_trials.offered(running, LANES, folder)
        if "small" in parts:
            bulk_trials.small_jobs(running, 3, folder)
            found["small"] = bulk_trials.small_jobs(running, 20, folder)
        if "lanes" in parts:
            found["lanes"] = list(lanes(running, able, sets, rounds, folder))
        if "million" in parts:
            click.echo(f"{large.name}, {able[0].name}", err=True)
            found["million"] = {"name": large.name, **bulk_trials.million(large, able[0], running, folder)}
    if "workers" in parts:
        click.echo("one worker and two", err=True)
        found["workers"] = list(bulk_trials.workers(sets[0], able[0], rounds, folder))
    return found


def profile(series: Series, folder: Path) -> str:
    """Where a worker's time goes, over one job, as a table."""
    with installed(folder / "one", workers=1, worker_threads=str(PROCESSES), **bulk_trials.SETTINGS) as running:
        able, _ = bulk_trials.offered(running, LANES, folder)
        series.file(able[0].given)
        with bulk_profile.profiled(running.workers[0].pid, folder / "stacks"):
            bulk_trials.travel(Caller(running.port), able[0], series, folder)
    stacks = (folder / "stacks").read_text()
    return f"{series.name}, {able[0].name}\n\n{bulk_profile.page(stacks)}"


@click.command()
@click.option("--parts", default=",".join(PARTS), show_default=True, help="What is measured.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are shown.")
@click.option("--share", default=1.0, show_default=True, help="Of all sizes; for a short trial.")
@click.option("--profile", "profiling", is_flag=True, help="Only look where a worker's time goes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all rounds.")
def main(parts: str, rounds: int, share: float, json_file: Path | None, *, profiling: bool) -> None:
    """Measure bulk jobs end to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by which all that was started is ended
    if unknown := set(parts.split(",")) - {*PARTS}:
        raise click.BadParameter(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    sets = [replace(series, rows=max(1, int(series.rows * share))) for series in SERIES]
    large = replace(MILLION, rows=max(1, int(MILLION.rows * share)))
    about = machine.facts() | {"rounds": rounds, "versions": installs.versions(None)}
    if about["busy_cores"] > machine.QUIET:
        click.echo(f"the machine is not quiet: {about['busy_cores']} cores are in use", err=True)
    with _folder() as folder:
        if shutil.disk_usage(folder).free < 8 << 30:
            raise click.ClickException(f"{folder} has less than 8 GiB free")
        if profiling:
            click.echo("\n\n".join(profile(series, folder / str(series.days)) for series in sets))
            return
        found = measure(parts.split(","), sets, large, rounds, folder)
    if json_file:
        json_file.write_text(json.dumps({"machine": about, **found}, indent=1))
    click.echo(bulk_report.page(about, found))


if __name__ == "__main__":
    main()
