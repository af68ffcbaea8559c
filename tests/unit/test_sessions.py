from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from worker.errors import ScheduleError
from worker.sessions import sessions


def closes(calendar: str, first: str, last: str) -> dict[str, str]:
    """Days of an exchange between two, with their closes in UTC."""
    found = sessions(calendar, date.fromisoformat(last))
    return {
        str(each.day): f"{each.closes_at:%H:%M}"
        for each in found
        if date.fromisoformat(first) <= each.day <= date.fromisoformat(last)
    }


@pytest.mark.parametrize(
    ("calendar", "first", "last", "wanted"),
    [
        # Thanksgiving, a half day after it, a weekend
        ("XNYS", "2024-11-27", "2024-12-02", {"2024-11-27": "21:00", "2024-11-29": "18:00", "2024-12-02": "21:00"}),
        # Christmas Eve and Christmas
        ("XNYS", "2025-12-23", "2025-12-26", {"2025-12-23": "21:00", "2025-12-24": "18:00", "2025-12-26": "21:00"}),
        # New York's clocks go forward on 10 March, London's on 31 March
        ("XNYS", "2024-03-08", "2024-03-11", {"2024-03-08": "21:00", "2024-03-11": "20:00"}),
        ("XLON", "2024-03-28", "2024-04-02", {"2024-03-28": "16:30", "2024-04-02": "15:30"}),  # Easter between
        ("XNYS", "2024-11-01", "2024-11-04", {"2024-11-01": "20:00", "2024-11-04": "21:00"}),
        ("XTKS", "2024-11-04", "2024-11-05", {"2024-11-05": "06:30"}),  # a holiday, and half an hour longer since then
        ("XNYS", "2025-01-08", "2025-01-10", {"2025-01-08": "21:00", "2025-01-10": "21:00"}),  # a day of mourning
    ],
)
def test_sessions_close_when_their_exchange_does(calendar: str, first: str, last: str, wanted: dict[str, str]) -> None:
    assert closes(calendar, first, last) == wanted


def test_a_close_is_a_moment_in_utc_whatever_the_season() -> None:
    (friday,) = [each for each in sessions("XNYS", date(2024, 7, 5)) if each.day == date(2024, 7, 5)]

    assert friday.closes_at == datetime(2024, 7, 5, 16, tzinfo=ZoneInfo("America/New_York"))
    assert friday.closes_at.tzinfo == UTC


@pytest.mark.parametrize("calendar", ["XNYS", "XLON", "XETR", "XTKS", "XHKG", "XSHG", "XBOM", "XTAE", "24/7"])
def test_calendars_of_large_exchanges_can_be_made_for_today(calendar: str) -> None:
    today = datetime.now(UTC).date()

    found = sessions(calendar, today)

    assert found[0].day < today
    assert [each.day for each in found] == sorted({each.day for each in found})


@pytest.mark.parametrize(
    ("calendar", "said"), [("NYSEE", "NYSE"), ("xnys", "XNYS"), ("", "XNYS"), ("Mars", "and others")]
)
def test_an_exchange_that_is_not_known_is_named_beside_those_that_are_near(calendar: str, said: str) -> None:
    with pytest.raises(ScheduleError, match=f"there is no '{calendar}'; there are .*{said}"):
        sessions(calendar, date(2024, 7, 5))
