"""The file of `nextday schedule`: which inputs are scored after which exchange's close. Read once, checked whole."""

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec

from models.bounds import DEFAULT_MODEL
from models.errors import InputError
from worker.errors import ScheduleError

MOST_CATCH_UP_DAYS = 30

_Level = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    What is scored after each close of an exchange.

    Attributes:
        name: Of letters, digits, ``.``, ``-`` and ``_``. With another name it is another schedule.
        input: URI of a file, ``file:`` or ``s3:``, or of a folder, with ``/`` at its end: each file under it is a job.
        calendar: The exchange, as exchange-calendars names it: XNYS, XLON, XTKS.
        after_close_minutes: From the close until the input is expected to be there.
        model: Name of the model.
        version: Its version; the newest if left out.
        levels: Quantile levels; all of the model's if left out.
        join: Columns of the input that the results have, too.
        webhook: URL that is told when a job has ended.
        owner: Id of the API key whose jobs they are.
    """

    name: str
    input: str
    calendar: str
    after_close_minutes: Annotated[float, msgspec.Meta(ge=0, le=1440)] = 30
    model: str = DEFAULT_MODEL
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    levels: tuple[_Level, ...] | None = None
    join: tuple[str, ...] = ()
    webhook: str | None = None
    owner: str = ""


class ScheduleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """
    A whole file.

    Attributes:
        schedule: At least one.
        catch_up_days: How long after its time a session that was missed is still made good.
    """

    schedule: Annotated[tuple[Schedule, ...], msgspec.Meta(min_length=1)]
    catch_up_days: Annotated[float, msgspec.Meta(gt=0, le=MOST_CATCH_UP_DAYS)] = 3.0


def read(path: Path, check: Callable[[Schedule], object] = lambda _: None) -> ScheduleFile:
    """
    A file, read and checked.

    Args:
        path: A TOML file.
        check: Looks at a schedule's model, calendar, webhook; raises InputError or ScheduleError.

    Raises:
        ScheduleError: It cannot be read, or something in it cannot be; the message says where.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        plan = msgspec.convert(document, ScheduleFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScheduleError(where=path.name, reason=str(error)) from error
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        where = f"{path.name}, {place.rstrip('`')}" if place else path.name
        raise ScheduleError(where=where, reason=reason) from error
    twice = [name for name, times in Counter(each.name for each in plan.schedule).items() if times > 1]
    if twice:
        raise ScheduleError(where=f"{path.name}, schedule {twice[0]!r}", reason="two have this name; each has its own")
    for schedule in plan.schedule:
        try:
            _check(schedule)
            check(schedule)
        except (InputError, ScheduleError) as error:
            raise ScheduleError(where=f"{path.name}, schedule {schedule.name!r}", reason=str(error)) from error
    return plan


def _check(schedule: Schedule) -> None:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", schedule.name):
        raise ScheduleError(where="name", reason="a name has 1 to 64 letters, digits, `.`, `-` or `_`")
    if not re.fullmatch(r"file:/[^?#\s]*|s3://[^@/?#\s]+/[^@#\s]*", schedule.input):
        raise ScheduleError(
            where="input",
            reason=f"{schedule.input.partition('?')[0][:80]!r} is neither file:///folder/file.csv nor s3://bucket/key, "
            "or has a blank, which is %20 there, or a password, which belongs into the environment",
        )
