"""How often a caller may ask: the rule alone, the file, and several processes at once."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import SettingError
from service.rates import BUCKETS, PLACES, Rates, boot_clock_ns, due_after

NS = 1_000_000_000
RATES = st.floats(0.01, 5000.0)
GAPS_NS = st.lists(st.one_of(st.integers(0, 10 * NS), st.integers(0, NS // 1000)), min_size=1, max_size=150)


def admitted(rate_per_s: float, gaps_ns: list[int]) -> list[int]:
    """When requests go through that come with these gaps between them."""
    now_ns, due_ns, through = 50 * NS, 0, []
    for gap_ns in gaps_ns:
        now_ns += gap_ns
        due_ns, wait_ns = due_after(due_ns, now_ns, rate_per_s)
        if not wait_ns:
            through.append(now_ns)
    return through


@given(RATES, GAPS_NS)
def test_no_span_of_time_sees_more_than_its_rate_and_one_burst(rate_per_s: float, gaps_ns: list[int]) -> None:
    through = admitted(rate_per_s, gaps_ns)

    for first, start_ns in enumerate(through):
        for last in range(first, len(through)):
            span_s = (through[last] - start_ns) / NS
            assert last - first + 1 <= rate_per_s * span_s + max(1.0, rate_per_s) + 1e-6


@given(RATES, st.lists(st.floats(1.0001, 5.0), max_size=50))
def test_whoever_keeps_to_the_rate_is_never_refused(rate_per_s: float, slower: list[float]) -> None:
    gaps_ns = [int(NS / rate_per_s * factor) + 1 for factor in slower]

    assert len(admitted(rate_per_s, gaps_ns)) == len(gaps_ns)


@given(RATES)
def test_one_second_s_worth_may_come_at_once(rate_per_s: float) -> None:
    assert len(admitted(rate_per_s, [0] * 6000)) == max(1, int(rate_per_s))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**6 * NS), RATES)
def test_whatever_the_clock_was_before_nobody_waits_longer_than_one_interval(
    due_ns: int, now_ns: int, rate_per_s: float
) -> None:
    due_ns, wait_ns = due_after(due_ns, now_ns, rate_per_s)

    assert wait_ns <= NS / rate_per_s + 1
    if wait_ns:
        assert due_after(due_ns, now_ns + wait_ns, rate_per_s)[1] == 0
        assert due_after(due_ns, now_ns + wait_ns - 1, rate_per_s)[1] == 1


def test_each_caller_is_counted_apart_and_by_all_who_share_the_file(tmp_path: Path) -> None:
    one, other = Rates(tmp_path, lambda: 7 * NS), Rates(tmp_path, lambda: 7 * NS)

    assert one.take("0000000a", 0.5) == 0.0
    assert other.take("0000000a", 0.5) == 2.0
    assert other.take("0000000b", 0.5) == 0.0


def test_a_restart_of_the_machine_locks_nobody_out(tmp_path: Path) -> None:
    Rates(tmp_path, lambda: 10**6 * NS).take("0000000a", 10.0)

    assert Rates(tmp_path, lambda: 5 * NS).take("0000000a", 10.0) == 0.0


@pytest.mark.parametrize(
    "damage", [b"", b"\xff" * 1000, os.urandom(BUCKETS * PLACES * 16)], ids=["empty", "short", "all"]
)
def test_a_damaged_file_locks_nobody_out_and_counts_again(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "rates").write_bytes(damage)
    rates = Rates(tmp_path, lambda: 7 * NS)

    assert rates.take("0000000a", 1.0) == 0.0
    assert rates.take("0000000a", 1.0) == 1.0


def test_a_file_that_is_cut_off_while_it_is_used_counts_again(tmp_path: Path) -> None:
    rates = Rates(tmp_path, lambda: 7 * NS)
    rates.take("0000000a", 1.0)

    os.truncate(tmp_path / "rates", 0)

    assert rates.take("0000000a", 1.0) == 0.0
    assert rates.take("0000000a", 1.0) == 1.0


def test_more_callers_than_places_take_over_those_of_the_quiet(tmp_path: Path) -> None:
    now_ns = 7 * NS
    rates = Rates(tmp_path, lambda: now_ns)
    callers = [f"{number:08x}" for number in range(2 * BUCKETS * PLACES)]

    for caller in callers:
        assert rates.take(caller, 1.0) == 0.0
        now_ns += NS

    assert rates.take(callers[-1], 1.0) == 0.0
    assert rates.take(callers[-1], 1.0) == 1.0
    assert (tmp_path / "rates").stat().st_size == BUCKETS * PLACES * 16


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    Rates(tmp_path / "state").open()

    assert (tmp_path / "state" / "rates").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_had_is_named_with_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SettingError, match=r"NEXTDAY_STATE='.*/file'"):
        Rates(tmp_path / "file").open()


ASK_S = 2.0
ASK = f"""
import sys, time
from pathlib import Path
from service.rates import Rates
rates, rate, through = Rates(Path(sys.argv[1])), float(sys.argv[2]), 0
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + {ASK_S}
while time.monotonic() < end:
    through += rates.take("0000000a", rate) == 0.0
print(through)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate_per_s", [5.0, 300.0])
def test_processes_at_once_together_get_the_rate_and_little_less(rate_per_s: float, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ASK, str(tmp_path), str(rate_per_s)]
    asking = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(4)
    ]
    for each in asking:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"

    started = time.monotonic()
    for each in asking:
        assert each.stdin is not None
        each.stdin.write("\n")
    through = sum(int(each.communicate(timeout=60)[0]) for each in asking)
    took_s = time.monotonic() - started

    assert through <= rate_per_s * took_s + rate_per_s
    assert through >= 0.95 * rate_per_s * (ASK_S + 1) - 1  # the last one falls due at the very end


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_process_that_is_killed_while_it_holds_the_file_holds_nobody_up(tmp_path: Path) -> None:
    rates = Rates(tmp_path)
    rates.open()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "rates")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (tmp_path / "rates").open("r+b") as probe, pytest.raises(BlockingIOError):
        fcntl.lockf(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)

    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    assert rates.take("0000000a", 1.0) == 0.0


def test_the_clock_goes_on_and_is_the_same_for_all_processes() -> None:
    before = boot_clock_ns()

    code = "from service.rates import boot_clock_ns; print(boot_clock_ns())"
    there = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert before < there < boot_clock_ns()
