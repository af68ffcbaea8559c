"""What was measured of bulk jobs as Markdown tables, medians over the rounds."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bench.bulk_goals import LANES, REDIS_KIB, SERVICE_MIB, SMALL_ROWS, SMALL_S, TWO_WORKERS, WORKER_MIB, Verdict
from bench.report import table

Rounds = Sequence[Mapping[str, Any]]
LEAST = {lane.name: lane.least for lane in LANES}


def page(machine: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """All tables, under the machine that they are from."""
    lanes = found.get("lanes", [])
    parts = [_about(machine), _speeds(lanes), _processors(lanes), _million(found.get("million"))]
    parts += [table(["", "found", "goal", ""], [verdict.cells() for verdict in verdicts(found)])]
    parts += [table(["not offered", "what the service says"], [[*each] for each in found["not_offered"].items()])]
    return "\n\n".join(part for part in parts if part)


def verdicts(found: Mapping[str, Any]) -> Iterator[Verdict]:
    """Every goal for which there is a figure."""
    for (series, lane), rounds in _by_lane(found.get("lanes", [])):
        share = _median(rounds, lambda each: each["limit_s"] / each["seconds"])
        yield Verdict(f"{series}, {lane}: of the limit", 100 * share, 100 * LEAST[lane], least=True, unit=" %")
    if small := found.get("small"):
        about = f"a job of {SMALL_ROWS} rows, submit to results (most {max(small):.3f} s)"
        yield Verdict(about, statistics.median(small), SMALL_S, least=False, unit=" s")
    if workers := found.get("workers"):
        one, two = (
            _median([each for each in workers if each["workers"] == count], lambda each: each["scoring_s"])
            for count in (1, 2)
        )
        yield Verdict("two workers beside one, scoring", one / two, TWO_WORKERS, least=True)
    if million := found.get("million"):
        yield from _of_the_million(million)


def _of_the_million(seen: Mapping[str, Any]) -> Iterator[Verdict]:
    name = seen["name"]
    yield Verdict(f"{name}: largest worker, resident", seen["most_worker_mib"], WORKER_MIB, least=False, unit=" MiB")
    about = f"{name}: largest process of the service, resident"
    yield Verdict(about, seen["most_service_mib"], SERVICE_MIB, least=False, unit=" MiB")
    for part, mib in seen["grown"].items():
        yield Verdict(f"{name}: {part.partition('_')[0]} grew beyond what is flat", mib, 0.0, least=False, unit=" MiB")
    more = max(seen["redis_peak_kib"], seen["redis_after_kib"]) - seen["redis_before_kib"]
    yield Verdict(f"{name}: Redis for the job, at most", more, REDIS_KIB, least=False, unit=" KiB")


def _about(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return (
        f"{machine['when']}; {machine['cores']} cores, {machine['processor']}, {machine['system']}; "
        f"{machine['busy_cores']} cores in use by others before; medians of {machine['rounds']} rounds. {versions}."
    )


def _speeds(rounds: Rounds) -> str:
    rows = []
    for (series, lane), each in _by_lane(rounds):
        phases = [f"{_median(each, lambda one, phase=phase: one[phase]):.2f}" for phase in PHASES]
        rate = _median(each, lambda one: one["rows"] / one["seconds"])
        limit = _median(each, lambda one: one["rows"] / one["limit_s"])
        share = _median(each, lambda one: one["limit_s"] / one["seconds"])
        rows.append([series, lane, f"{rate:,.0f}", f"{limit:,.0f}", f"{share:.0%}", *phases])
    return table(["series", "lane", "rows/s", "limit", "share", *(f"{phase[:-2]}, s" for phase in PHASES)], rows)


PHASES = ("intake_s", "scoring_s", "download_s")


def _processors(rounds: Rounds) -> str:
    """Processor time of a job by who took it, beside what the limit took for the graph alone."""
    rows = []
    for (series, lane), each in _by_lane(rounds):
        limit = _median(each, lambda one: one["limit_cpu_s"])
        parts = [_median(each, lambda one, part=part: one["cpu_s"][part]) for part in TAKERS]
        beyond = f"{1 - limit / parts[0]:.0%}"
        rows.append(
            [series, lane, f"{limit:.2f}", *(f"{part:.2f}" for part in parts), beyond, f"{limit / sum(parts):.0%}"]
        )
    head = [
        "processor time of a job, s",
        "",
        "limit",
        *TAKERS,
        "of the workers', beyond the limit",
        "limit's share of all",
    ]
    return table(head, rows)


TAKERS = ("workers", "service", "valkey", "caller")


def _million(seen: Mapping[str, Any] | None) -> str:
    if not seen:
        return ""
    small = ", ".join(f"{each:.2f}" for each in seen["small_s"]) or "none was sent in time"
    rows = [
        ["rows a second", f"{seen['job']['counts']['total'] / seen['seconds']:,.0f}"],
        *([phase[:-2], f"{seen[phase]:.1f} s"] for phase in PHASES),
        ["largest worker, resident; without mapped files", _mib(seen, "worker_mib", "worker_own_mib")],
        [
            "largest process of the service; all of them, shared memory once",
            _mib(seen, "service_mib", "service_all_mib"),
        ],
        ["Redis before, most, after", ", ".join(f"{seen[f'redis_{at}_kib']:,.0f} KiB" for at in REDIS_AT)],
        [f"a job of {SMALL_ROWS} rows sent into it, s", small],
    ]
    return table([f"{seen['name']}, {seen['lane']}", ""], rows)


REDIS_AT = ("before", "peak", "after")


def _mib(seen: Mapping[str, Any], *names: str) -> str:
    return ", ".join(f"{seen[f'most_{name}']:,.0f} MiB" for name in names)


def _by_lane(rounds: Rounds) -> list[tuple[tuple[str, str], Rounds]]:
    names = dict.fromkeys((each["series"], each["lane"]) for each in rounds)
    return [(name, [each for each in rounds if (each["series"], each["lane"]) == name]) for name in names]


def _median(rounds: Rounds, figure: Callable[[Any], float]) -> float:
    return statistics.median(figure(each) for each in rounds)
