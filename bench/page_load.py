"""
How long the pages take in Chromium: to be there, to be loaded, to have painted their first chart.

    python -m bench.page_load
    python -m bench.page_load --rounds 9 --json pages.json

A whole installation on this machine, and Debian's Chromium, started anew with an empty profile for each cold visit; the
warm one is the same page in another tab of the same browser. Times are the browser's own, from the start of the
navigation. Nobody looks over its shoulder meanwhile: with a debugger attached, as test tools attach theirs, V8 parses
plotly's script three times more. So the tab is opened by its address, left alone, and only then asked.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import httpx

from bench import machine
from bench.installation import installed
from bench.processes import stop
from bench.report import table
from service.screens import SCREENS, Screen

STARTED_S, QUIET_S = 30.0, 1.5
"""Seconds that a browser may take to start, and for which it is left alone after that."""
DRAWN_S = 6.0
"""Seconds until a page is asked how it went."""
READ = """() => {
  const [page] = performance.getEntriesByType('navigation');
  const [chart] = performance.getEntriesByName('nextday.first-chart');
  const files = [page, ...performance.getEntriesByType('resource')];
  const until = chart ? chart.startTime : page.loadEventEnd;
  return {
    dom_ms: page.domContentLoadedEventEnd, load_ms: page.loadEventEnd, chart_ms: chart ? chart.startTime : null,
    sent_kib: files.filter((each) => each.startTime < until).reduce((sum, each) => sum + each.transferSize, 0) / 1024,
  };
}"""


@dataclass(frozen=True)
class Load:
    """
    One visit.

    Attributes:
        page: Its name.
        is_warm: Whether the browser has had its files before.
        dom_ms: Until DOMContentLoaded has been handled.
        load_ms: Until load has.
        chart_ms: Until the first chart is painted; None where the page has none.
        sent_kib: What came over the wire until then, as it was packed.
    """

    page: str
    is_warm: bool
    dom_ms: float
    load_ms: float
    chart_ms: float | None
    sent_kib: float


@contextmanager
def browser(profile: Path) -> Iterator[str]:
    """The address of the debugger of a browser that has just started, with nothing in its cache."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise click.ClickException("there is no Chromium; on Debian: apt-get install chromium")
    command = [chromium, "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--window-size=1440,900"]
    command += [f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank"]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=null, stderr=null, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{_debugger_port(profile)}"
    finally:
        stop(process)


def _debugger_port(profile: Path) -> int:
    deadline = time.monotonic() + STARTED_S
    while time.monotonic() < deadline:
        told = profile / "DevToolsActivePort"
        if told.exists() and (lines := told.read_text().splitlines()):
            time.sleep(QUIET_S)
            return int(lines[0])
        time.sleep(0.05)
    raise click.ClickException(f"Chromium did not start within {STARTED_S:.0f} s")


def visit(playwright: Any, debugger: str, address: str) -> dict[str, float | None]:
    """Open a tab, leave it alone, and ask it how it went."""
    httpx.put(f"{debugger}/json/new?{address}").raise_for_status()
    time.sleep(DRAWN_S)
    attached = playwright.chromium.connect_over_cdp(debugger)
    try:
        (page,) = [each for each in attached.contexts[0].pages if each.url.startswith(address)]
        told: dict[str, float | None] = page.evaluate(READ)
        page.close()
    finally:
        attached.close()
    return told


def loads(playwright: Any, url: str, screens: Sequence[Screen], rounds: int) -> Iterator[Load]:
    """Each page cold and then warm, so many times, the pages in turn."""
    for _ in range(rounds):
        for screen in screens:
            with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as debugger:
                for is_warm in (False, True):
                    told: dict[str, Any] = visit(playwright, debugger, url + screen.path)
                    yield Load(screen.name, is_warm, **told)


HEAD = [
    "page",
    *(f"{what}, {when}" for when in ("cold", "warm") for what in ("DOM, ms", "load, ms", "first chart, ms", "KiB")),
]


def medians(seen: Sequence[Load], screens: Sequence[Screen] = SCREENS) -> list[list[str]]:
    """A row a page: medians over the visits, cold and warm."""
    groups = {key: [each for each in seen if (each.page, each.is_warm) == key] for key in _keys(screens)}
    return [
        [screen.title, *_cells(groups[screen.name, False]), *_cells(groups[screen.name, True])] for screen in screens
    ]


def _keys(screens: Sequence[Screen]) -> list[tuple[str, bool]]:
    return [(screen.name, is_warm) for screen in screens for is_warm in (False, True)]


def _cells(group: Sequence[Load]) -> list[str]:
    charts = [each.chart_ms for each in group if each.chart_ms is not None]
    dom, load, sent = (
        f"{statistics.median(getattr(each, name) for each in group):,.0f}" for name in ("dom_ms", "load_ms", "sent_kib")
    )
    chart = f"{statistics.median(charts):,.0f} ({min(charts):,.0f})" if charts else "none"
    return [dom, load, chart, sent]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Visits of each page, cold and warm.")
@click.option("--page", "names", multiple=True, help="Of these pages alone, as: forecast.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all visits.")
def main(rounds: int, names: tuple[str, ...], json_file: Path | None) -> None:
    """Measure how long the pages take."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - for this measurement alone

    about, seen = machine.facts() | {"load_average": os.getloadavg()[0]}, []
    screens = [each for each in SCREENS if not names or each.name in names]
    with (
        tempfile.TemporaryDirectory() as folder,
        installed(Path(folder), workers=1) as running,
        sync_playwright() as playwright,
    ):
        for each in loads(playwright, f"http://127.0.0.1:{running.port}", screens, rounds):
            seen.append(each)
            click.echo(str(each), err=True)
    before, after = about["load_average"], os.getloadavg()[0]
    if json_file:
        json_file.write_text(json.dumps({"machine": about, "loads": [asdict(each) for each in seen]}, indent=1))
    click.echo(
        f"{about['when']}; {about['cores']} cores, {about['processor']}; load average {before:.1f} before and "
        f"{after:.1f} after; medians of {rounds} visits, in brackets the shortest.\n"
    )
    click.echo(table(HEAD, medians(seen, screens)))


if __name__ == "__main__":
    main()
