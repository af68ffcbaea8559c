"""The soak: what a minute comes to, and which bars can be missed."""

from dataclasses import replace

import pytest

from bench import soak_requests
from bench.processes import Weight
from bench.sending import Sent
from bench.soak import Minute, minute, missed, slopes


def light(pss_mib: float) -> Weight:
    return Weight(pss_mib=pss_mib, rss_mib=pss_mib, files=9)


WELL = Minute(statuses={200: 9, 422: 1}, wrong={}, p50_ms=2.0, p99_ms=10.0, weights={7: light(100.0), 8: light(200.0)})
FIVE = [replace(WELL, weights={7: light(60.0), 8: light(60.0)}), *[WELL] * 4]


def test_a_soak_that_grew_before_its_second_minute_alone_is_well() -> None:
    assert missed(FIVE) == []
    assert slopes(FIVE) == {7: pytest.approx(0), 8: pytest.approx(0)}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"statuses": {500: 2}}, "2 answers were 500"),
        ({"wrong": {"NaN: 200, not 422": 3}}, "3 x NaN: 200, not 422"),
        ({"weights": {7: light(105.1), 8: light(200)}}, "process 7 grew from 100.0 to 105.1 MiB"),
        ({"weights": {7: light(100), 9: light(200)}}, "a process died, or another came"),
        ({"p99_ms": 20.1}, "the last minute's 99th percentile is 20.1 ms, after 10.0 ms"),
        ({"p99_ms": float("nan")}, "the last minute's 99th percentile is nan ms, after 10.0 ms"),
    ],
)
def test_a_soak_misses_its_bars(last: dict[str, object], said: str) -> None:
    assert missed([*FIVE[:4], replace(WELL, **last)]) == [said]


@pytest.mark.parametrize("last", [{"weights": {7: light(104.9), 8: light(206.9)}}, {"p99_ms": 19.9}])
def test_a_soak_may_grow_and_slow_a_little(last: dict[str, object]) -> None:
    assert missed([*FIVE[:4], replace(WELL, **last)]) == []


def test_a_minute_counts_what_is_not_as_the_table_has_it() -> None:
    asks = {each.request.name: each for each in [*soak_requests.good(), *soak_requests.bad()]}

    def sent(name: str, status: int, *, as_wanted: bool = True) -> Sent:
        return Sent(name, 0.0, 1.0, 1.005, status, held=False, as_wanted=as_wanted)

    record = [sent("60 closes", 200), sent("60 closes", 200, as_wanted=False), sent("NaN", 422), sent("NaN", 0)]

    seen = minute(record, asks, {})

    assert seen.statuses == {200: 2, 422: 1, 0: 1}
    assert seen.wrong == {"60 closes: another body than before": 1, "NaN: no answer, not 422": 1}
    assert seen.p99_ms == pytest.approx(5)


def test_a_mix_holds_every_request_of_the_table() -> None:
    asks = [*soak_requests.good(), *soak_requests.bad()]

    drawn = [each for each, _ in zip(soak_requests.shuffled(asks, seed=0), range(20_000), strict=False)]

    assert len({each.request.name for each in asks}) == len(asks)
    assert {id(each) for each in drawn} == {id(each) for each in asks}
    assert sum(each.is_good for each in drawn) / len(drawn) == pytest.approx(soak_requests.GOOD_SHARE, abs=0.02)
