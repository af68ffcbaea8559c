"""
What the service does with more than it can: accepted and rejected requests, and how long the accepted ones took.

    make overload
    make overload ARGS="--peers ours,fastapi --seconds 5"

Requests come at random (Poisson) at a share of the capacity, which is measured just before with 64 connections that
always ask again. Latency counts from the time a request was due. The generator has the last core to itself, as it would
have a machine of its own, and the server the others, a process on each. With `--shared` both have all, the generator
with a higher priority where it is allowed to. How late it sent is told. With `--proxied` the nginx that ships stands in
front, as docker-compose.yml has it, and its capacity is that of as many connections as it lets in.
"""

import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from bench import machine, questions
from bench.check import Truth, check
from bench.lineup import PEERS, Peer
from bench.processes import ROOT, Running, free_port, serving
from bench.report import table
from bench.sending import NO_ANSWER, NOT_SENT, Clients, Request, Sent, http
from bench.serving import chosen, installed
from deploy import proxy
from models.bundle import folder_of

CLOSED, OPEN = 64, 512
"""Connections for the capacity, and for what comes at random."""
MOST_REQUESTS = 1_000_000
"""Requests of one measurement."""
GENERATOR_NICE = -10
LATE_MS = 5.0
"""A generator whose sends are later than this (99th percentile) has not kept up."""

Figures = dict[str, Any]


def question(peer: Peer) -> Request:
    """One series of 60 closes."""
    rows = questions.closes(1, 60)
    headers = {name.replace("-", "_"): value for name, value in peer.one.headers(rows).items()}
    return Request("one", http("POST", peer.one.path, peer.one.body(rows), **headers))


def capacity(server: Running, request: Request, connections: int, seconds: float) -> float:
    """Requests a second that are answered with success over connections that always ask again."""
    with Clients(server.port, connections) as clients, favoured():
        clients.closed_loop(repeat(request), seconds=1)
        record = clients.closed_loop(repeat(request), seconds=seconds)
    return sum(each.status == 200 and each.done_s <= seconds for each in record) / seconds


def at_random(request: Request, rate: float, seconds: float, seed: int) -> Iterator[tuple[float, Request]]:
    """A Poisson process of requests: their due times, ascending."""
    count = min(int(rate * seconds * 1.2) + 100, MOST_REQUESTS)
    due_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, count))
    return ((float(each), request) for each in due_s[due_s < seconds])


def summary(record: list[Sent], seconds: float) -> Figures:
    """What became of the requests that came at random for some time."""
    statuses = Counter(each.status for each in record)
    taken = np.array([each.latency_s for each in record if each.status == 200]) * 1000
    late = np.array([each.late_s for each in record if not each.held]) * 1000
    p50, p99 = np.percentile(taken, [50, 99]) if taken.size else (np.nan, np.nan)
    return {
        "offered": len(record) / seconds,
        "accepted": sum(each.status == 200 and each.done_s <= seconds for each in record) / seconds,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "held": sum(each.held for each in record) / max(len(record), 1),
        "late_p99_ms": float(np.percentile(late, 99)) if late.size else 0.0,
        "late_max_ms": float(late.max()) if late.size else 0.0,
    }


@contextmanager
def favoured() -> Iterator[None]:
    """Let the generator go first for a while, where the system lets us."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, GENERATOR_NICE)
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


class Cores(NamedTuple):
    """Who runs where."""

    servers: list[int]
    generators: list[int]

    @classmethod
    def of(cls, *, shared: bool) -> "Cores":
        """Of the cores that this process may use: the last one is the generator's, unless they are shared."""
        every = sorted(os.sched_getaffinity(0))
        return cls(every, every) if shared or len(every) < 2 else cls(every[:-1], every[-1:])


@contextmanager
def on(cores: list[int]) -> Iterator[None]:
    """Run on some cores for a while, and have what is started meanwhile run there for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def started(peer: Peer, model: Path, cores: list[int], *, proxied: bool) -> Iterator[Running]:
    """A server on some cores, perhaps behind an nginx there; ours has a process on each."""
    peer = replace(peer, env={**peer.env, "NEXTDAY_PROCESSES": str(len(cores))})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ended:
        with on(cores):
            running = ended.enter_context(serving(peer, model, Path(folder)))
            if proxied:
                port, at_once = free_port(), proxy.QUICK_A_PROCESS * len(cores)
                ended.enter_context(proxy.proxying(_nginx(), Path(folder), port, [running.url], at_once))
                running = replace(running, port=port)
        yield running


def _nginx() -> str:
    if not (found := proxy.found()):
        raise click.ClickException("there is no nginx here: apt-get install nginx-light")
    return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    What is asked, and how.

    Attributes:
        shares: Percentages of the capacity.
        seconds: Of each measurement.
        connections: Of what comes at random.
        cores: Who runs where.
        proxied: Whether nginx stands in front, as docker-compose.yml has it.
    """

    shares: list[int]
    seconds: float
    connections: int
    cores: Cores
    proxied: bool

    @property
    def closed(self) -> int:
        """Connections for the capacity: no more than nginx lets in, where there is one."""
        return proxy.QUICK_A_PROCESS * len(self.cores.servers) if self.proxied else CLOSED


def measure(peer: Peer, model: Path, truth: Truth, plan: Plan, seed: int) -> Iterator[Figures]:
    """A server that was just started, at each share of its capacity."""
    request = question(peer)
    with started(peer, model, plan.cores.servers, proxied=plan.proxied) as server, on(plan.cores.generators):
        check(peer, server.url, truth)
        most = capacity(server, request, plan.closed, plan.seconds)
        for share in plan.shares:
            with Clients(server.port, plan.connections) as clients, favoured():
                schedule = at_random(request, most * share / 100, plan.seconds, seed)
                record = clients.on_time(schedule, seconds=plan.seconds)
            name = f"{peer.name}, behind nginx" if plan.proxied else peer.name
            yield {"name": name, "share": share, "capacity": most, **summary(record, plan.seconds)}


def tables(found: list[Figures]) -> str:
    """Medians over the rounds, a line for each server and share."""
    head = ["server", "share", "offered/s", "accepted/s", "rejected", "no answer", "not sent"]
    head += ["p50, ms", "p99, ms", "waited for a connection", "sent late, p99 (most), ms"]
    return table(head, [_line(rounds) for rounds in _by_share(found).values()])


def _by_share(found: list[Figures]) -> dict[tuple[str, int], list[Figures]]:
    grouped: dict[tuple[str, int], list[Figures]] = {}
    for each in found:
        grouped.setdefault((each["name"], each["share"]), []).append(each)
    return grouped


def _line(rounds: list[Figures]) -> list[str]:
    def median(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    counts: Counter[str] = Counter()
    for each in rounds:
        counts.update(each["statuses"])
    rejected = {status: count for status, count in counts.items() if int(status) >= 300}
    return [
        rounds[0]["name"],
        f"{rounds[0]['share']} % of {median('capacity'):,.0f}",
        f"{median('offered'):,.0f}",
        f"{median('accepted'):,.0f}",
        ", ".join(f"{count:,} x {status}" for status, count in rejected.items()) or "none",
        f"{counts[str(NO_ANSWER)]:,}",
        f"{counts[str(NOT_SENT)]:,}",
        f"{median('p50_ms'):.1f}",
        f"{median('p99_ms'):.1f}",
        f"{median('held'):.0%}",
        f"{median('late_p99_ms'):.2f} ({max(each['late_max_ms'] for each in rounds):.1f})",
    ]


def _named(cores: list[int]) -> str:
    return f"core{'s' * (len(cores) > 1)} {', '.join(map(str, cores))}"


@click.command()
@click.option("--peers", default="ours", show_default=True, callback=chosen, help="Which, by commas.")
@click.option("--shares", default="25,50,100,200", show_default=True, help="Percentages of the capacity.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are shown, counts are summed.")
@click.option("--seconds", default=10.0, show_default=True, help="Seconds of each measurement.")
@click.option("--connections", default=OPEN, show_default=True, help="Connections of what comes at random.")
@click.option("--shared", is_flag=True, help="Let the generator and the server share all cores.")
@click.option("--proxied", is_flag=True, help="Put the nginx that ships in front, on the server's cores.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all rounds.")
def main(peers: list[str], shares: str, rounds: int, json_file: Path | None, shared: bool, **how: Any) -> None:
    """Ask the service for more than it can."""
    plan = Plan(shares=[int(each) for each in shares.split(",")], cores=Cores.of(shared=shared), **how)
    model = folder_of(ROOT / "models" / "store", "lstm") / "model.onnx"
    truth, about, found = Truth(model), machine.facts(), []
    able, unable = installed(peers)
    for seed in range(rounds):
        for name in able:
            click.echo(f"round {seed + 1} of {rounds}: {name}", err=True)
            found += measure(PEERS[name], model, truth, plan, seed)
    if json_file:
        json_file.write_text(json.dumps({"machine": about, "rounds": found}, indent=1))
    click.echo(f"{about['cores']} cores, {about['processor']}; {about['busy_cores']} cores in use by others before.")
    click.echo(f"The server runs on {_named(plan.cores.servers)}, the generator on {_named(plan.cores.generators)}.\n")
    click.echo(tables(found))
    if (late := max(each["late_p99_ms"] for each in found)) > LATE_MS:
        click.echo(f"\nthe generator did not keep up: a hundredth of its sends came {late:.1f} ms late or later")
    for name, why in unable.items():
        click.echo(f"\n{name} could not be installed: {why}")


if __name__ == "__main__":
    main()
