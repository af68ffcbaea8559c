"""What was measured as Markdown tables, medians over the rounds."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.goals import judge
from bench.lineup import OURS

Rounds = Sequence[Mapping[str, Any]]
TITLES = {"many": "JSON, 64 series", "binary": "binary, 256 rows"}


def page(machine: Mapping[str, Any], rounds: Rounds) -> str:
    """All tables, under the machine that they are from."""
    found = medians(rounds)
    parts = [
        _about(machine),
        _speeds(found),
        _rows(found),
        _days(found),
        _processes(rounds, found),
        _goals(rounds, found),
        _failures(rounds),
    ]
    return "\n\n".join(part for part in parts if part)


def medians(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    """For each server and what was measured of it (``one@16``), the median of each figure over the rounds."""
    seen: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for entry in rounds:
        for measured, figures in entry.items():
            if isinstance(figures, Mapping):
                for figure, value in figures.items():
                    seen[entry["name"]][measured][figure].append(value)
    return {
        name: {
            measured: {figure: statistics.median(values) for figure, values in figures.items()}
            for measured, figures in measures.items()
        }
        for name, measures in seen.items()
    }


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; nothing where there are no rows."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines]) if lines else ""


def _about(machine: Mapping[str, Any]) -> str:
    versions: dict[str, set[str]] = defaultdict(set)
    for found in machine["versions"].values():
        for package, version in found.items():
            versions[package].add(version)
    told = ", ".join(f"{package} {' and '.join(sorted(each))}" for package, each in versions.items())
    return (
        f"{machine['when']}; {machine['cores']} cores, {machine['processor']}, {machine['system']}; "
        f"{machine['busy_cores']} cores in use by others before; model {machine['model']}; "
        f"medians of {machine['rounds']} rounds of {machine['seconds']} s. {told}."
    )


def _speeds(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    asked = _measured(found, "one")
    head = ["requests/s (p99, ms)", *(_connections(name) for name in asked)]
    shown = [[name, *(_speed(each.get(one)) for one in asked)] for name, each in found.items() if _has(each, asked)]
    return table(head, shown)


def _speed(figures: Mapping[str, float] | None) -> str:
    if not figures:
        return ""
    return f"{figures['rate']:,.0f}" + (f" ({figures['p99_ms']:.1f})" if "p99_ms" in figures else "")


def _rows(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    parts = [part for part in TITLES if any(part in each for each in found.values())]
    shown = [[name, *(_speed(each.get(part)) for part in parts)] for name, each in found.items() if _has(each, parts)]
    return table(["rows/s (p99 of a request, ms)", *(TITLES[part] for part in parts)], shown)


def _days(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    asked = _measured(found, "days")
    head = ["one request, ms (p99)", *(f"{int(name.partition('@')[2]):,} closes" for name in asked)]
    shown = [
        [name, *(f"{each[days]['p50_ms']:.2f} ({each[days]['p99_ms']:.2f})" if days in each else "" for days in asked)]
        for name, each in found.items()
        if _has(each, asked)
    ]
    return table(head, shown)


def _measured(found: Mapping[str, Mapping[str, Any]], part: str) -> list[str]:
    """What was measured of one part, by its number."""
    names = {name for each in found.values() for name in each if name.partition("@")[0] == part}
    return sorted(names, key=lambda name: int(name.partition("@")[2]))


def _has(each: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(name in each for name in names)


def _processes(rounds: Rounds, found: Mapping[str, Any]) -> str:
    """Seconds until a server answers, and what its processes weigh after the load."""
    shown = []
    for name in found:
        mine = [entry for entry in rounds if entry["name"] == name and "memory_mib" in entry]
        if mine:
            start = statistics.median(entry["start_s"] for entry in mine)
            weighed = sorted(mine, key=lambda entry: sum(entry["memory_mib"]))[len(mine) // 2]["memory_mib"]
            each = " + ".join(f"{mib:.0f}" for mib in sorted(weighed, reverse=True))
            shown.append([name, f"{start:.1f}", str(len(weighed)), f"{sum(weighed):.0f}", each])
    return table(["server", "start to first answer, s", "processes", "PSS, MiB", "each"], shown)


def _goals(rounds: Rounds, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    ours = {measured: figures["rate"] for measured, figures in found.get(OURS.name, {}).items()}
    best = best_of({entry["name"]: entry["product"] for entry in rounds}, found)
    shown = [
        [_told(each.measured), each.goal.product, f"{each.ratio:.2f}", f"{each.goal.least:g}", str(each)]
        for each in judge(ours, best)
    ]
    return table(["ours to the best set-up of", "", "ratio", "goal", ""], shown)


def best_of(
    products: Mapping[str, str], found: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[tuple[str, str], float]:
    """The highest rate of each product at each thing measured, whichever set-up reached it."""
    best: dict[tuple[str, str], float] = {}
    for name, measures in found.items():
        for measured, figures in measures.items():
            key = products[name], measured
            best[key] = max(best.get(key, 0.0), figures["rate"])
    return best


def _told(measured: str) -> str:
    part = measured.partition("@")[0]
    return TITLES.get(part) or f"one series, {_connections(measured)}"


def _connections(measured: str) -> str:
    count = measured.partition("@")[2]
    return f"{count} connection" + ("" if count == "1" else "s")


def _failures(rounds: Rounds) -> str:
    whys = {entry["name"]: " ".join(entry["failure"].split())[:300] for entry in rounds if "failure" in entry}
    return table(["not (wholly) timed", "why"], [[name, why.replace("|", "/")] for name, why in whys.items()])
