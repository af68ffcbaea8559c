"""The table of page loads: medians of the visits, cold beside warm."""

from bench.page_load import HEAD, Load, medians
from service.screens import Screen

SCREENS = (Screen("/", "forecast", "Forecast"), Screen("/pages/jobs", "jobs", "Jobs"))


def test_a_page_has_its_medians_cold_and_warm_and_the_shortest_time_to_a_chart() -> None:
    cold = [Load("forecast", False, 100 + at, 200 + at, 900 + at, 1500) for at in (0, 1, 50)]
    warm = [Load("forecast", True, 10, 20, 300, 5)]
    jobs = [Load("jobs", is_warm, 90, 95, None, 19) for is_warm in (False, True)]

    rows = medians([*cold, *warm, *jobs], SCREENS)

    assert rows == [
        ["Forecast", "101", "201", "901 (900)", "1,500", "10", "20", "300 (300)", "5"],
        ["Jobs", "90", "95", "none", "19", "90", "95", "none", "19"],
    ]
    assert {len(row) for row in rows} == {len(HEAD)}
