"""What stands in a query, checked: nothing is guessed, and what nobody would look at is refused."""

import math
from collections.abc import Collection

from werkzeug.datastructures import MultiDict

from service.errors import InvalidParameter

Query = MultiDict[str, str]


def allow(query: Query, *known: str, repeated: Collection[str] = ()) -> None:
    """Refuse parameters that nobody would look at, and those given twice that are not to be `repeated`."""
    for name, values in query.lists():
        if name not in known:
            raise InvalidParameter(name=name[:60], reason=f"is no parameter here; there are: {', '.join(known)}")
        if len(values) > 1 and name not in repeated:
            raise InvalidParameter(name=name, reason=f"is there {len(values)} times; give it once")


def text(query: Query, name: str) -> str | None:
    """A text that is not empty; None where it is left out."""
    given = query.get(name)
    if given == "":
        raise InvalidParameter(name=name, reason="is empty; leave it out, or say something")
    return given


def texts(query: Query, name: str) -> list[str]:
    """Texts with commas between, or in several parameters of one name; none where it is left out."""
    given = [part for value in query.getlist(name) for part in value.split(",")]
    if "" in given:
        raise InvalidParameter(name=name, reason="has nothing between two commas, or at an end")
    return given


def whole_number(query: Query, name: str, *, least: int, most: int | None = None) -> int | None:
    """A whole number of at most nine digits; None where it is left out."""
    given = query.get(name)
    if given is None:
        return None
    wanted = f"a whole number, at least {least}" + ("" if most is None else f" and at most {most}")
    if not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise InvalidParameter(name=name, reason=f"{given[:60]!r} is not {wanted}")
    number = int(given)
    if number < least or (most is not None and number > most):
        raise InvalidParameter(name=name, reason=f"{number} is not {wanted}")
    return number


def numbers(query: Query, name: str, *, example: str) -> list[float] | None:
    """Numbers with commas between; None where it is left out."""
    given = query.get(name)
    if given is None:
        return None
    try:
        # A blank in place of an underscore, which Python takes in a number.
        return [float(level) for level in given.replace("_", " ").split(",")]
    except ValueError:
        reason = f"{given[:60]!r} is not a list of numbers like {example}"
        raise InvalidParameter(name=name, reason=reason) from None


def positive(query: Query, name: str) -> float | None:
    """A positive, finite number; None where it is left out."""
    found = numbers(query, name, example="24")
    if found is None:
        return None
    if len(found) != 1 or not (found[0] > 0 and math.isfinite(found[0])):
        raise InvalidParameter(name=name, reason=f"{query[name][:60]!r} is not a positive number")
    return found[0]
