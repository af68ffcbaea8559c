"""Trading sessions: the days of an exchange and when each closed, with its holidays, half days and daylight saving."""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache

from worker.errors import ScheduleError

DAYS_BACK, DAYS_AHEAD = 60, 366
"""How many days around today are looked at."""


@dataclass(frozen=True, slots=True)
class Session:
    """A trading day and the moment, in UTC, at which it closes."""

    day: date
    closes_at: datetime


@lru_cache(maxsize=64)
def sessions(calendar: str, today: date) -> tuple[Session, ...]:
    """
    Sessions around a day, oldest first.

    They end sooner for an exchange whose holidays of next year are not known yet.

    Args:
        calendar: A name that exchange-calendars knows, as XNYS.
        today: Two months before it to a year after it are looked at.

    Raises:
        ScheduleError: There is no such calendar, or it cannot be made.
        ModuleNotFoundError: The extra ``schedule`` is not installed.
    """
    import exchange_calendars as known  # noqa: PLC0415 - brings pandas, and only schedules need it

    first, last = today - timedelta(days=DAYS_BACK), today + timedelta(days=DAYS_AHEAD)
    if calendar not in (names := known.get_calendar_names()):
        near = get_close_matches(calendar.upper(), names, n=3) or ["XNYS", "XLON", "XTKS"]
        raise ScheduleError(
            where="calendar", reason=f"there is no {calendar!r}; there are {', '.join(near)} and others"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pandas tells the calendars' authors
        try:
            try:
                closes = known.get_calendar(calendar, start=first, end=last).closes
            except ValueError:  # its holidays are not known for so long
                closes = known.get_calendar(calendar, start=first).closes
        except ValueError as error:
            raise ScheduleError(where="calendar", reason=f"{calendar} cannot be made: {str(error)[:200]}") from error
    moments = closes.dt.tz_convert(UTC).dt.to_pydatetime()
    return tuple(Session(day.date(), moment) for day, moment in zip(closes.index, moments, strict=True))
