"""How much of an upload is taken. Each limit has its setting, which the error names."""

from dataclasses import dataclass

from worker.errors import TableError, UploadTooLarge

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest line of NDJSON or CSV: a series of the most days has a tenth of it."""
MAX_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON document, which is read whole; the other formats are read piece by piece."""
MAX_COLUMNS = 50_000
"""Most columns of a table."""
MAX_JOINED = 50
"""Most columns that are joined to a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What one upload may have.

    Attributes:
        rows: Series.
        closes: Closes over all series.
        decoded_bytes: Bytes once it is unpacked.
        threads: That parse it at a time.
    """

    rows: int = 5_000_000
    closes: int = 500_000_000
    decoded_bytes: int = 2 * 1024**3
    threads: int = 1

    def check_rows(self, rows: int) -> None:
        """Raise UploadTooLarge where there are more series."""
        if rows > self.rows:
            raise UploadTooLarge(what=f"has {rows} series or more", most=self.rows, setting="max_job_rows")

    def check_closes(self, closes: int) -> None:
        """Raise UploadTooLarge where there are more closes."""
        if closes > self.closes:
            raise UploadTooLarge(what=f"has {closes} closes or more", most=self.closes, setting="max_job_closes")

    def check_decoded(self, size_bytes: int) -> None:
        """Raise UploadTooLarge where there are more bytes."""
        if size_bytes > self.decoded_bytes:
            what = f"unpacks to {size_bytes} bytes or more"
            raise UploadTooLarge(what=what, most=self.decoded_bytes, setting="max_job_decoded_bytes")


def check_columns(count: int) -> None:
    """Raise TableError where a table has more columns than are taken."""
    if count > MAX_COLUMNS:
        raise TableError(
            f"the table has {count} columns; at most {MAX_COLUMNS} are taken: send it long (id, date, close)"
        )
