"""One line of JSON on stderr for each thing that happens: requests, warnings, errors."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

from service.keys import without_secrets

current_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered, for the lines that are written meanwhile."""

CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "service.logs.JsonLines"}},
    "filters": {"chosen": {"()": "service.logs.ButWhatWasChosen"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "json",
            "filters": ["chosen"],
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"_granian": {"level": "INFO"}, "granian.access": {"level": "WARNING"}},
}


class JsonLines(logging.Formatter):
    """
    A log record as one line of JSON.

    Whatever a caller sent is inside a JSON string, so that no newline of theirs begins a line of ours; an API key that
    they put where none belongs, as into a path, is in it without its secret.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line; `extra={"facts": {...}}` adds fields to it."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := current_id.get():
            line["request_id"] = request_id
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return without_secrets(as_line(line)[:-1].decode())


class ButWhatWasChosen(logging.Filter):
    """Drops what the server remarks about our settings at each start: they are meant."""

    remarks = ("Configuration allows spawning up to", "Configured number of workers", "Websockets are not supported")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is worth a line."""
        return not (record.name == "_granian" and record.getMessage().startswith(self.remarks))


def as_line(fields: dict[str, Any]) -> bytes:
    """Fields as one line of JSON, its newline included; what JSON cannot say is said as text."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # a lone surrogate, which has no form in UTF-8, a number of more than 64 bits, an object
        line = orjson.dumps(
            {name: _printable(value) for name, value in fields.items()}, option=orjson.OPT_APPEND_NEWLINE
        )
    if line.isascii():
        return line
    for character, escaped in _NEWLINES:
        line = line.replace(character, escaped)
    return line


_NEWLINES = [(each.encode(), rb"\u%04x" % ord(each)) for each in "\x85\u2028\u2029"]
"""What Unicode calls a new line beside those that JSON escapes; some who read logs follow it."""


def _printable(value: Any) -> Any:
    """A value as JSON can say it."""
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()
