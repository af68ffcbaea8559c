"""
The service beside its peers, all with the same graph: requests and rows a second, latency, memory, start.

    make bench                                   everything, three rounds
    make bench ARGS="--peers ours,fastapi --rounds 1 --seconds 1"

One server runs at a time; a round goes over all of them, and the median over the rounds counts. Needs `wrk`. Peers are
installed once, each into an environment of its own under ~/.cache/nextday-bench.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench import installs, machine, questions, report
from bench.check import LENGTHS, MANY, Truth, WrongAnswer, check
from bench.goals import LOOP
from bench.installs import NotInstalled
from bench.lineup import PEERS, Peer
from bench.load import LoadFailed, wrk
from bench.loop import rows_per_second
from bench.processes import ROOT, NotServing, Running, serving, weights
from models.bundle import folder_of

BINARY_ROWS = 256
MANY_CONNECTIONS = 16
WARM_UP_S = 1
PARTS = ("one", "many", "binary", "days")
DEFAULT = tuple(name for name in PEERS if not name.startswith("ray"))

Measures = dict[str, Any]


def measure(peer: Peer, server: Running, connections: list[int], seconds: int, parts: list[str]) -> Iterator[tuple]:
    """What a server that answers rightly is measured for, as it comes: names and what was found."""
    row = questions.closes(1, 60)
    wrk(server, peer.one, row, connections=16, seconds=WARM_UP_S)
    if "one" in parts:
        for count in connections:
            yield f"one@{count}", asdict(wrk(server, peer.one, row, connections=count, seconds=seconds))
    for part, wire, rows in (("many", peer.many, MANY), ("binary", peer.binary, BINARY_ROWS)):
        if part in parts and wire:
            speed = wrk(server, wire, questions.closes(rows, 60), connections=MANY_CONNECTIONS, seconds=seconds)
            yield part, {"rate": speed.rate * rows, "p50_ms": speed.p50_ms, "p99_ms": speed.p99_ms}
    if "days" in parts and peer.forecasts:
        for days in LENGTHS:
            speed = wrk(server, peer.one, questions.closes(1, days), connections=1, seconds=max(1, seconds // 2))
            yield f"days@{days}", asdict(speed)
    yield "memory_mib", [each.pss_mib for each in weights(server.process.pid).values()]


def visit(peer: Peer, model: Path, truth: Truth, connections: list[int], seconds: int, parts: list[str]) -> Measures:
    """Start a peer, check it, measure it, end it; what it was found to do, and why not more where it failed."""
    found: Measures = {}
    try:
        with tempfile.TemporaryDirectory() as folder, serving(peer, model, Path(folder)) as server:
            found["start_s"] = round(server.start_s, 2)
            check(peer, server.url, truth)
            for name, value in measure(peer, server, connections, seconds, parts):
                found[name] = value
    except (NotServing, WrongAnswer, LoadFailed) as failure:
        found["failure"] = f"{type(failure).__name__}: {failure}"
    return found


def loop(model: Path, connections: list[int], seconds: int) -> Measures:
    """The limit in rows a second: runs of one row, by one process for one connection, and runs of 32 rows."""
    cheapest = rows_per_second(model, rows=32, days=60, seconds=seconds, processes=2)
    singly = {
        processes: rows_per_second(model, rows=1, days=60, seconds=seconds, processes=processes)
        for processes in {min(count, 2) for count in connections}
    }
    found: Measures = {f"one@{count}": {"rate": singly[min(count, 2)]} for count in connections}
    return found | {"many": {"rate": cheapest}, "binary": {"rate": cheapest}}


def installed(names: list[str]) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that could be installed, and why the others could not."""
    failed: dict[str | None, str] = {}
    for venv in {PEERS[name].venv: None for name in names}:
        if venv:
            click.echo(f"environment {venv}", err=True)
            try:
                installs.ensure(venv)
            except NotInstalled as failure:
                failed[venv] = str(failure)
    able = {name: PEERS[name] for name in names if PEERS[name].venv not in failed}
    return able, {name: failed[PEERS[name].venv] for name in names if name not in able}


def rounds_of(peers: Mapping[str, Peer], model: Path, rounds: int, **how: Any) -> Iterator[dict[str, Any]]:
    """All rounds: in each of them the loop and every peer, one after the other."""
    truth = Truth(model)
    for number in range(1, rounds + 1):
        yield {"round": number, "name": LOOP, "product": LOOP, **loop(model, how["connections"], how["seconds"])}
        for name, peer in peers.items():
            click.echo(f"round {number} of {rounds}: {name}", err=True)
            found = visit(peer, model, truth, **how)
            if "failure" in found:
                click.echo(f"  {found['failure']}", err=True)
            yield {"round": number, "name": peer.name, "product": peer.product, **found}


def chosen(_context: click.Context, _option: click.Parameter, value: str) -> list[str]:
    names = value.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"no peer {', '.join(unknown)}; there are: {', '.join(PEERS)}")
    return names


@click.command()
@click.option("--peers", default=",".join(DEFAULT), callback=chosen, help="Which, by commas. Default: all but ray.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; medians are shown.")
@click.option("--seconds", default=5, show_default=True, help="Seconds of each measurement.")
@click.option("--connections", default="1,16,64", show_default=True, help="Connections that ask for one series.")
@click.option("--parts", default=",".join(PARTS), show_default=True, help="What is measured.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all rounds.")
def main(peers: list[str], rounds: int, seconds: int, connections: str, parts: str, json_file: Path | None) -> None:
    """Measure the service beside its peers."""
    if not shutil.which("wrk"):
        raise click.ClickException("wrk is not here; on Debian and Ubuntu: apt install wrk")
    model = folder_of(ROOT / "models" / "store", "lstm") / "model.onnx"
    able, unable = installed(peers)
    about = machine.facts() | {"model": "/".join(model.parts[-3:-1]), "rounds": rounds, "seconds": seconds}
    if about["busy_cores"] > machine.QUIET:
        click.echo(f"the machine is not quiet: {about['busy_cores']} cores are in use", err=True)
    about["versions"] = {venv or "nextday": installs.versions(venv) for venv in {peer.venv for peer in able.values()}}
    how = {"connections": [int(count) for count in connections.split(",")], "seconds": seconds}
    found = list(rounds_of(able, model, rounds, **how, parts=parts.split(",")))
    found += [
        {"round": 0, "name": PEERS[name].name, "product": PEERS[name].product, "failure": why}
        for name, why in unable.items()
    ]
    if json_file:
        json_file.write_text(json.dumps({"machine": about, "rounds": found}, indent=1))
    click.echo(report.page(about, found))


if __name__ == "__main__":
    main()
