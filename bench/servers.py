"""
The service behind three WSGI servers, side by side on this machine: how fast, and what each does when things go wrong.

    python bench/servers.py              needs `wrk`; fetches gunicorn and waitress into a folder of its own

Speed is `POST /v1/forecasts` with one series of 60 closes, medians of interleaved rounds.
"""

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

import click
import httpx

PROCESSES, THREADS = 2, 64
CONNECTIONS = (1, 16, 64)
PATIENCE_S = 10.0
PEERS = ("gunicorn", "waitress")
BODY = json.dumps({"series": [{"id": "AAPL", "closes": [round(100 + (day * 37 % 50) / 10, 2) for day in range(60)]}]})
HEAD = "POST /v1/forecasts HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
SCRIPT = f"""wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{BODY}]]
"""


def commands(port: int) -> dict[str, list[str]]:
    """How each server is started, all with the same threads a process; waitress knows one process only."""
    python = [sys.executable, "-m"]
    gthread = ["gunicorn", "-k", "gthread", "-w", str(PROCESSES), "--threads", str(THREADS), "--no-control-socket"]
    return {
        "granian": [*python, "nextday", "serve"],
        "gunicorn": [*python, *gthread, "-b", f"127.0.0.1:{port}", "service.wsgi:app()"],
        "waitress": [
            *python,
            "waitress",
            f"--listen=127.0.0.1:{port}",
            f"--threads={THREADS}",
            "--call",
            "service.wsgi:app",
        ],
    }


@contextmanager
def serving(name: str, peers: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A server that answers, and its port; ended afterwards."""
    port = free_port()
    env = {**os.environ, "PYTHONPATH": str(peers), "NEXTDAY_PORT": str(port)}
    env |= {"NEXTDAY_PROCESSES": str(PROCESSES), "NEXTDAY_THREADS": str(THREADS)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(commands(port)[name], env=env, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        wait_until_ready(port)
        yield port, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"nothing is ready on port {port}")


def measure(port: int, connections: int, seconds: int, script: Path) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of the latency in milliseconds."""
    load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
    run = subprocess.run([*load, f"http://127.0.0.1:{port}/v1/forecasts"], capture_output=True, text=True, check=True)
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise SystemExit(run.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", run.stdout)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", run.stdout)
    assert rate
    assert p99
    return float(rate[1]), float(p99[1]) * {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]]


def speed(peers: Path, rounds: int, seconds: int) -> None:
    """Print the table of speeds."""
    rates, tails = defaultdict(list), defaultdict(list)
    with ExitStack() as stack, tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        ports = {name: stack.enter_context(serving(name, peers))[0] for name in ("granian", *PEERS)}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for name, port in ports.items():
                    rate, p99 = measure(port, connections, seconds, Path(script.name))
                    rates[name, connections].append(rate)
                    tails[name, connections].append(p99)
    click.echo("| requests/s (p99, ms) | " + " | ".join(f"{count} connections" for count in CONNECTIONS) + " |")
    click.echo("|---|" + "---|" * len(CONNECTIONS))
    for name in ports:
        cells = [
            f"{statistics.median(rates[name, count]):,.0f} ({statistics.median(tails[name, count]):.1f})"
            for count in CONNECTIONS
        ]
        click.echo(f"| {name} | {' | '.join(cells)} |")


def connect(port: int, sent: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    connection.sendall(sent.encode())
    return connection


def probe(port: int) -> str:
    """How long a good request takes now."""
    start = time.monotonic()
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/forecasts",
            content=BODY,
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE_S,
        )
    except httpx.TransportError as error:
        return f"no answer ({type(error).__name__})"
    return f"{answer.status_code} after {time.monotonic() - start:.2f} s"


def beside_40(port: int, sent: str) -> str:
    """What a good request meets beside forty connections that send something and never the rest."""
    with ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(port, sent))
        time.sleep(0.5)
        return probe(port)


def first_line(connection: socket.socket) -> str:
    try:
        return connection.recv(4096).decode().partition("\r\n")[0] or "closed without an answer"
    except OSError as error:
        return type(error).__name__


def truncated(port: int) -> str:
    with connect(port, f"{HEAD}Content-Length: 1000\r\n\r\n{BODY[:200]}") as connection:
        connection.shutdown(socket.SHUT_WR)
        return first_line(connection)


def sigterm_in_flight(peers: Path, name: str) -> str:
    """What becomes of four requests whose bodies are half there when the server is told to stop."""
    with serving(name, peers) as (port, process), ExitStack() as stack:
        head = f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n"
        connections = [stack.enter_context(connect(port, head + BODY[:100])) for _ in range(4)]
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        answers = []
        for connection in connections:
            try:
                connection.sendall(BODY[100:].encode())
            except OSError as error:
                answers.append(type(error).__name__)
            else:
                answers.append(first_line(connection))
        return ", ".join(f"{answers.count(each)} x {each}" for each in dict.fromkeys(answers))


def faults(peers: Path) -> None:
    """Print the table of what each server does when things go wrong."""
    table: dict[str, list[str]] = defaultdict(list)
    for name in ("granian", *PEERS):
        table["body cut off"].append(_ask(name, peers, truncated))
        table["request beside 40 silent connections"].append(_ask(name, peers, lambda port: beside_40(port, "")))
        table["beside 40 unfinished heads"].append(_ask(name, peers, lambda port: beside_40(port, HEAD)))
        unfinished = f"{HEAD}Content-Length: 1000\r\n\r\n{{"
        table["beside 40 unfinished bodies"].append(
            _ask(name, peers, lambda port, sent=unfinished: beside_40(port, sent))
        )
        table["SIGTERM, 4 requests under way"].append(sigterm_in_flight(peers, name))
    click.echo("| | granian | gunicorn gthread | waitress |\n|---|---|---|---|")
    for what, cells in table.items():
        click.echo(f"| {what} | {' | '.join(cells)} |")


def _ask(name: str, peers: Path, question) -> str:  # type: ignore[no-untyped-def]
    with serving(name, peers) as (port, _):
        return str(question(port))


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Interleaved rounds; the median is shown.")
@click.option("--seconds", default=5, show_default=True, help="Seconds of each measurement.")
def main(rounds: int, seconds: int) -> None:
    """Compare WSGI servers under the service."""
    with tempfile.TemporaryDirectory() as folder:
        peers = Path(folder)
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, *PEERS, "packaging"],
            check=True,
        )
        found = sorted(entry.name.removesuffix(".dist-info") for entry in peers.glob("*.dist-info"))
        click.echo(
            f"granian-{version('granian')}, {', '.join(found)}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
        speed(peers, rounds, seconds)
        faults(peers)


if __name__ == "__main__":
    main()
