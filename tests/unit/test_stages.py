"""The clock of a request."""

import re
import time

import pytest

from service.stages import STAGES, Stages, server_timing

# Server-Timing of the W3C: a list of names with parameters; a duration is in milliseconds.
METRIC = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+;dur=\d+\.\d+"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the clock shows, in nanoseconds: its last entry."""
    shown = [1_000_000]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: shown[-1])
    return shown


def test_each_lap_counts_the_time_since_the_last_one(clock: list[int]) -> None:
    stages = Stages()

    for stage, after_ns in (("decode", 12_000), ("wait", 300_000), ("run", 200_000), ("encode", 10_000)):
        clock.append(clock[-1] + after_ns)
        stages.lap(stage)

    assert stages.totals_ns == {"decode": 12_000, "wait": 300_000, "run": 200_000, "encode": 10_000}
    assert sum(stages.totals_ns.values()) == stages.total_ns
    assert server_timing(stages) == "decode;dur=0.012, wait;dur=0.300, run;dur=0.200, encode;dur=0.010"


def test_a_stage_that_comes_twice_counts_both_times_and_keeps_its_places(clock: list[int]) -> None:
    stages = Stages()

    for stage in ("encode", "run", "encode"):
        clock.append(clock[-1] + 5)
        stages.lap(stage)

    assert stages.totals_ns == {"encode": 10, "run": 5}
    assert list(stages.spans()) == [("encode", 0, 5), ("run", 5, 10), ("encode", 10, 15)]


def test_time_that_is_skipped_belongs_to_no_stage(clock: list[int]) -> None:
    stages = Stages()

    clock.append(clock[-1] + 7)
    stages.skip()
    clock.append(clock[-1] + 2)
    stages.lap("decode")

    assert stages.totals_ns == {"decode": 2}
    assert list(stages.spans()) == [("decode", 7, 9)]
    assert stages.total_ns == 9


@pytest.mark.parametrize(("run_ns", "wait_ns"), [(200, 800), (1000, 0), (5000, 0)])
def test_what_was_not_the_run_of_a_shared_run_was_waiting(clock: list[int], run_ns: int, wait_ns: int) -> None:
    stages = Stages()
    stages.lap("decode")
    clock.append(clock[-1] + 1000)

    stages.ran(run_ns)

    assert stages.totals_ns == {"decode": 0, "wait": wait_ns, "run": 1000 - wait_ns}


def test_stages_that_did_not_happen_are_left_out() -> None:
    stages = Stages()
    assert server_timing(stages) == ""

    stages.lap("decode")

    assert re.fullmatch(METRIC, server_timing(stages))


def test_the_header_is_as_the_w3c_has_it() -> None:
    stages = Stages()
    for stage in STAGES:
        stages.lap(stage)

    assert re.fullmatch(rf"{METRIC}(, {METRIC}){{3}}", server_timing(stages))
