"""One line of JSON on stderr for each thing that happens: requests, warnings, errors."""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from service.exchange import current_id
from service.keys import without_secrets

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
        return without_secrets(orjson.dumps(_printable(line)).decode())


class ButWhatWasChosen(logging.Filter):
    """Drops what the server remarks about our settings at each start: they are meant."""

    remarks = ("Configuration allows spawning up to", "Configured number of workers", "Websockets are not supported")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is worth a line."""
        return not (record.name == "_granian" and record.getMessage().startswith(self.remarks))


def _printable(line: dict[str, Any]) -> dict[str, Any]:
    """Text that has a form in UTF-8: a lone surrogate has none."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in line.items()
    }
