"""Series for bulk jobs as files, written once and kept: the same random walks in each format that a job takes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CACHE = Path.home() / ".cache" / "nextday-bench" / "bulk"
SLICE_ROWS = 20_000
"""Series that are made at a time, so that a file of any size is made in little memory."""
SCHEMA = pa.schema([("id", pa.string()), ("closes", pa.list_(pa.float64()))])
FIRST_DAY = date(2026, 1, 1)


@dataclass(frozen=True)
class Series:
    """
    Random walks with two decimals, as prices have them.

    Attributes:
        rows: How many series.
        days: Closes of each.
    """

    rows: int
    days: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.rows:,} x {self.days}"

    def slices(self) -> Iterator[tuple[int, np.ndarray]]:
        """The closes, some series at a time, each with the number of its first. Shape ``(B, T)``."""
        for first in range(0, self.rows, SLICE_ROWS):
            rng = np.random.default_rng([self.days, first])
            steps = rng.standard_normal((min(SLICE_ROWS, self.rows - first), self.days)) * 0.012
            yield first, np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2)

    def file(self, kind: str) -> Path:
        """The file of a kind, one of `WRITERS`; made when first asked for."""
        path = CACHE / f"{self.rows}x{self.days}.{kind}"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            WRITERS[kind](self, part)
            part.replace(path)
        return path


def series_id(row: int) -> str:
    """What a series is called."""
    return f"S{row:07d}"


def _batches(series: Series) -> Iterator[pa.RecordBatch]:
    for first, closes in series.slices():
        offsets = pa.array(np.arange(len(closes) + 1, dtype=np.int32) * series.days)
        ids = pa.array([series_id(first + place) for place in range(len(closes))])
        lists = pa.ListArray.from_arrays(offsets, pa.array(closes.ravel()))
        yield pa.RecordBatch.from_arrays([ids, lists], schema=SCHEMA)


def _parquet(series: Series, path: Path) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for batch in _batches(series):
            writer.write_batch(batch)


def _arrow_file(series: Series, path: Path) -> None:
    with pa.ipc.new_file(str(path), SCHEMA) as writer:
        for batch in _batches(series):
            writer.write_batch(batch)


def _arrow_stream(series: Series, path: Path) -> None:
    with pa.ipc.new_stream(str(path), SCHEMA) as writer:
        for batch in _batches(series):
            writer.write_batch(batch)


def _lines(head: str, of_a_series: Callable[[str, list[float]], str]) -> Callable[[Series, Path], None]:
    """A writer of text: a head, then each series' own lines."""

    def write(series: Series, path: Path) -> None:
        with path.open("w") as file:
            file.write(head)
            for first, closes in series.slices():
                rows = enumerate(closes.tolist(), first)
                file.writelines(of_a_series(series_id(row), each) for row, each in rows)

    return write


def _csv_lists(name: str, closes: list[float]) -> str:
    return f"{name},{' '.join(map(repr, closes))}\n"


def _csv_days(name: str, closes: list[float]) -> str:
    days = (FIRST_DAY + timedelta(days=day) for day in range(len(closes)))
    return "".join(f"{name},{day},{close}\n" for day, close in zip(days, closes, strict=True))


def _ndjson(name: str, closes: list[float]) -> str:
    return json.dumps({"id": name, "closes": closes}, separators=(",", ":")) + "\n"


def _npy(series: Series, path: Path) -> None:
    """What the limit runs over: the closes alone, as float32."""
    with path.open("wb") as file:
        _npy_head(file, (series.rows, series.days))
        for _, closes in series.slices():
            file.write(closes.astype(np.float32).tobytes())


def _npy_head(file: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


WRITERS: dict[str, Callable[[Series, Path], None]] = {
    "parquet": _parquet,
    "arrow": _arrow_file,
    "arrows": _arrow_stream,
    "csv": _lines("id,closes\n", _csv_lists),
    "long.csv": _lines("id,date,close\n", _csv_days),
    "ndjson": _lines("", _ndjson),
    "npy": _npy,
}
