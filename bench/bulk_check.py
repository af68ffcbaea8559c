"""Results of bulk jobs held against the forecaster itself, row by row and to the bit, before they count."""

import io
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bench.bulk_data import Series, series_id
from bench.check import WrongAnswer
from bench.processes import ROOT
from models.ragged import Ragged
from models.repository import Repository

Ids = list[str]


class Answers:
    """
    What a job over some series must give.

    Attributes:
        series: The series.
        levels: The quantiles' names, as results have them.
        quantiles: Shape ``(B, Q)``.
    """

    def __init__(self, series: Series) -> None:
        forecaster = Repository(ROOT / "models" / "store", device="cpu").get("lstm")
        self.series = series
        self.levels = [str(level) for level in forecaster.card.levels]
        self.quantiles = np.concatenate([forecaster.run(_rows(closes)) for _, closes in series.slices()])

    def check(self, file: Path, kind: str) -> None:
        """
        Compare a file of results.

        Raises:
            WrongAnswer: A row is missing, doubled, in another place, or has other numbers.
        """
        ids, quantiles = read(file.read_bytes(), kind, self.levels)
        if ids != [series_id(row) for row in range(self.series.rows)]:
            raise WrongAnswer(f"{file}: {len(ids)} rows, which are not the {self.series.rows} that were sent, in order")
        if differ := int((quantiles != self.quantiles).any(axis=1).sum()):
            raise WrongAnswer(f"{file}: {differ} rows have other quantiles than the forecaster gives")


def _rows(closes: np.ndarray) -> Ragged:
    return Ragged(closes.ravel(), np.arange(len(closes) + 1, dtype=np.int64) * closes.shape[1])


def read(content: bytes, kind: str, levels: list[str]) -> tuple[Ids, np.ndarray]:
    """Ids and quantiles of a file of results, the quantiles as float32. Shape ``(B, Q)``."""
    if kind == "ndjson":
        rows = [orjson.loads(line) for line in content.splitlines()]
        numbers = [[row["quantiles"][level] for level in levels] for row in rows]
        return [row["id"] for row in rows], np.array(numbers, np.float64).astype(np.float32).reshape(-1, len(levels))
    return _columns(_table(content, kind), levels)


def _table(content: bytes, kind: str) -> pa.Table:
    if kind == "csv":
        names = pacsv.ConvertOptions(column_types={"id": pa.string()})
        return pacsv.read_csv(io.BytesIO(content), convert_options=names)
    if kind == "arrow":
        return pa.ipc.open_stream(content).read_all()
    return pq.read_table(io.BytesIO(content))


def _columns(table: pa.Table, levels: list[str]) -> tuple[Ids, np.ndarray]:
    """Of a table with a column for each level, or one column of lists."""
    if "quantiles" in table.column_names:
        lists = table["quantiles"].combine_chunks()
        return table["id"].to_pylist(), lists.flatten().to_numpy().astype(np.float32).reshape(len(table), -1)
    columns = [table[level].to_numpy().astype(np.float32) for level in levels]
    return table["id"].to_pylist(), np.stack(columns, axis=1)
