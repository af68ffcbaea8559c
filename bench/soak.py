"""
The service under a mix of good and bad requests for minutes: does it still answer rightly, and does it grow?

    make soak
    make soak ARGS="--minutes 60"

Ends with 1 when a bar is missed: a 500, an answer that is not the table's (`bench/soak_requests.py`), a process that
died, memory that grew after the second minute, a last minute that is much slower than the second and third.
"""

import json
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from http.client import HTTPResponse
from pathlib import Path

import click
import numpy as np

from bench import machine
from bench.check import Truth, check
from bench.lineup import OURS
from bench.processes import ROOT, Running, Weight, serving, weights
from bench.report import table
from bench.sending import Clients, Request, Sent
from bench.soak_requests import Ask, bad, good, shuffled
from models.bundle import folder_of

GROWTH_SHARE, GROWTH_MIB = 0.02, 3.0
"""What a process may grow by after the second minute."""
SLOWER = 2.0
"""How many times the 99th percentile of the second and third minute the last one's may be."""
JUDGED_FROM = 4
"""Minutes without which growth and slowness are not judged."""


@dataclass(frozen=True)
class Minute:
    """
    What was seen in a minute.

    Attributes:
        statuses: How often each came.
        wrong: How often a request got another answer than the table's, by its name and the answer.
        p50_ms: Median time of the good ones.
        p99_ms: Their 99th percentile.
        weights: What each process weighs at the end, by its id.
    """

    statuses: dict[int, int]
    wrong: dict[str, int]
    p50_ms: float
    p99_ms: float
    weights: dict[int, Weight]


def with_answers(asks: Sequence[Ask], port: int) -> list[Ask]:
    """The table, with the very bytes that are answered while nobody else asks, where they are the same each time."""
    return [_with_answer(each, port) if each.is_exact else each for each in asks]


def _with_answer(ask: Ask, port: int) -> Ask:
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(ask.request.raw)
        answer = HTTPResponse(connection)
        answer.begin()
        body = answer.read()
    return replace(ask, request=Request(ask.request.name, ask.request.raw, body if answer.status == 200 else None))


def minute(record: Sequence[Sent], asks: dict[str, Ask], weighed: dict[int, Weight]) -> Minute:
    """What a minute's record comes to."""
    times = np.array([each.service_s for each in record if asks[each.name].is_good]) * 1000
    p50, p99 = np.percentile(times, [50, 99]) if times.size else (np.nan, np.nan)
    return Minute(
        statuses=dict(Counter(each.status for each in record)),
        wrong=dict(Counter(told for each in record if (told := _wrong(each, asks[each.name])))),
        p50_ms=float(p50),
        p99_ms=float(p99),
        weights=weighed,
    )


def _wrong(sent: Sent, ask: Ask) -> str:
    """How an answer differs from the table's, or nothing."""
    if sent.status not in ask.statuses:
        return f"{sent.name}: {sent.status or 'no answer'}, not {' or '.join(map(str, sorted(ask.statuses)))}"
    return "" if sent.as_wanted else f"{sent.name}: another body than before"


def missed(minutes: Sequence[Minute]) -> list[str]:
    """The bars that were missed, in words."""
    found = []
    if bugs := sum(each.statuses.get(500, 0) for each in minutes):
        found.append(f"{bugs} answers were 500")
    wrong: Counter[str] = Counter()
    for each in minutes:
        wrong.update(each.wrong)
    found += [f"{count} x {what}" for what, count in wrong.most_common()]
    if any(each.weights.keys() != minutes[0].weights.keys() for each in minutes):
        found.append("a process died, or another came")
    elif len(minutes) >= JUDGED_FROM:
        found += _grown(minutes)
    if len(minutes) >= JUDGED_FROM:
        before, last = (minutes[1].p99_ms + minutes[2].p99_ms) / 2, minutes[-1].p99_ms
        if not last <= SLOWER * before:
            found.append(f"the last minute's 99th percentile is {last:.1f} ms, after {before:.1f} ms")
    return found


def _grown(minutes: Sequence[Minute]) -> Iterator[str]:
    for pid, before in minutes[1].weights.items():
        after = minutes[-1].weights[pid]
        if after.pss_mib > before.pss_mib * (1 + GROWTH_SHARE) + GROWTH_MIB:
            yield f"process {pid} grew from {before.pss_mib:.1f} to {after.pss_mib:.1f} MiB"


def slopes(minutes: Sequence[Minute]) -> dict[int, float]:
    """MiB that each process grew a minute after the second, by least squares; nothing where that cannot be said."""
    later = minutes[1:]
    if len(later) < 2 or any(each.weights.keys() != later[0].weights.keys() for each in later):
        return {}
    return {
        pid: float(np.polyfit(range(len(later)), [each.weights[pid].pss_mib for each in later], 1)[0])
        for pid in later[0].weights
    }


def soak(server: Running, minutes: int, every_s: float, connections: int) -> Iterator[Minute]:
    """Minutes of the mix."""
    asks = with_answers([*good(), *bad()], server.port)
    named = {each.request.name: each for each in asks}
    mix = (each.request for each in shuffled(asks, seed=0))
    with Clients(server.port, connections) as clients:
        for _ in range(minutes):
            yield minute(clients.closed_loop(mix, seconds=every_s), named, weights(server.process.pid))


def line(number: int, seen: Minute) -> list[str]:
    """A minute as cells."""
    each = [seen.weights[pid] for pid in sorted(seen.weights)]
    return [
        str(number),
        ", ".join(f"{count:,} x {status or 'no answer'}" for status, count in sorted(seen.statuses.items())),
        f"{sum(seen.wrong.values()):,}",
        f"{seen.p50_ms:.1f}",
        f"{seen.p99_ms:.1f}",
        " + ".join(f"{one.pss_mib:.1f}" for one in each),
        " + ".join(f"{one.rss_mib:.1f}" for one in each),
        " + ".join(str(one.files) for one in each),
    ]


HEAD = ["minute", "answers", "wrong", "p50, ms", "p99, ms", "PSS of each process, MiB", "RSS, MiB", "open files"]


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--every", default=60.0, show_default=True, help="Seconds of what is called a minute; for a short trial.")
@click.option("--connections", default=64, show_default=True, help="Connections that always ask again.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all minutes.")
def main(minutes: float, every: float, connections: int, json_file: Path | None) -> None:
    """Ask good and bad questions for minutes."""
    model = folder_of(ROOT / "models" / "store", "lstm") / "model.onnx"
    about, seen = machine.facts(), []
    with tempfile.TemporaryDirectory() as folder, serving(OURS, model, Path(folder)) as server:
        check(OURS, server.url, Truth(model))
        for each in soak(server, max(1, round(minutes * 60 / every)), every, connections):
            seen.append(each)
            click.echo(" | ".join(line(len(seen), each)), err=True)
    if json_file:
        json_file.write_text(json.dumps({"machine": about, "minutes": [asdict(each) for each in seen]}, indent=1))
    click.echo(f"{about['cores']} cores, {about['processor']}; {connections} connections; a minute is {every:g} s.\n")
    click.echo(table(HEAD, [line(number, each) for number, each in enumerate(seen, 1)]))
    for pid, slope in slopes(seen).items():
        total = seen[-1].weights[pid].pss_mib - seen[1].weights[pid].pss_mib
        click.echo(f"\nprocess {pid} grew by {total:+.1f} MiB after minute 2, {slope:+.2f} MiB a minute")
    if len(seen) < JUDGED_FROM:
        click.echo("\ntoo short to judge growth and slowness")
    bars = missed(seen)
    click.echo("\n" + ("\n".join(f"missed: {bar}" for bar in bars) or "every bar is met"))
    sys.exit(1 if bars else 0)


if __name__ == "__main__":
    main()
