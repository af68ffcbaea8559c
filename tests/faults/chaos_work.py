"""Jobs for the chaos: drawn by a seed out of one pool of series, with the answers that they must get, to the bit."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.bulk_check import read
from models.forecaster import Forecaster
from models.ragged import Ragged

POOL_ROWS, MOST_DAYS = 20_000, 120
BAD_CLOSE = -1.0
PLAIN_JSON_ROWS = 2000
"""Most rows of a job in one JSON document."""


class Pool:
    """
    Series of 2 to 120 closes.

    Attributes:
        closes: Of each series.
        levels: Names of the quantiles.
        quantiles: The forecaster's own answers. Shape ``(B, Q)``.
    """

    def __init__(self, forecaster: Forecaster, seed: int) -> None:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(2, MOST_DAYS + 1, POOL_ROWS)
        steps = (rng.standard_normal(days) * 0.012 for days in lengths)
        self.closes = [np.round(100 * np.exp(np.cumsum(each)), 2).tolist() for each in steps]
        self.levels = [str(level) for level in forecaster.card.levels]
        self.quantiles = forecaster.run(Ragged.of(self.closes))


@dataclass(frozen=True)
class Work:
    """
    What one job asks.

    Attributes:
        name: Begins the ids of its series; no two jobs share one.
        kind: Its format, one of `KINDS`.
        first: Where in the pool it begins.
        rows: How many series it has.
        bad: Rows with a close that no series may have.
    """

    name: str
    kind: str
    first: int
    rows: int
    bad: frozenset[int]

    @cached_property
    def ids(self) -> list[str]:
        """What its series are called, in their order."""
        return [f"{self.name}-{row}" for row in range(self.rows)]

    def series(self, pool: Pool) -> Iterator[tuple[str, list[float]]]:
        """Each series with its id; the bad ones have a bad close at their end."""
        for row, name in enumerate(self.ids):
            closes = pool.closes[(self.first + row) % POOL_ROWS]
            yield name, [*closes[:-1], BAD_CLOSE] if row in self.bad else closes

    def body(self, pool: Pool) -> bytes:
        """The upload."""
        return KINDS[self.kind][1](self.series(pool))

    @property
    def media_type(self) -> str:
        """Of the upload."""
        return KINDS[self.kind][0]

    def wrong(self, pool: Pool, results: bytes, results_kind: str, errors: bytes) -> str:
        """How a job's results differ from what they must be; nothing where they do not."""
        good = [row for row in range(self.rows) if row not in self.bad]
        ids, quantiles = read(results, results_kind, pool.levels) if good else ([], None)
        if ids != [self.ids[row] for row in good]:
            return f"results have {len(ids)} rows: not each of {len(good)} once and in order"
        if good and (differ := quantiles != pool.quantiles[(self.first + np.array(good)) % POOL_ROWS]).any():
            return f"{int(differ.any(axis=1).sum())} rows have other quantiles than the forecaster gives"
        told = [orjson.loads(line) for line in errors.splitlines()]
        if [(each["row"], each["id"]) for each in told] != [(row, self.ids[row]) for row in sorted(self.bad)]:
            return f"errors are told for the rows {[each['row'] for each in told][:20]}, not {sorted(self.bad)[:20]}"
        return ""


def draw(rng: np.random.Generator, name: str, kinds: list[str]) -> Work:
    """A job of 1 to 20,000 rows, a few of them bad; enough are large that workers are killed while they score."""
    rows = int(
        rng.integers(POOL_ROWS // 4, POOL_ROWS) if rng.random() < 0.3 else np.exp(rng.uniform(0, np.log(POOL_ROWS)))
    )
    kind = str(rng.choice([each for each in kinds if each != "json" or rows <= PLAIN_JSON_ROWS]))
    bad = rng.choice(rows, int(rng.integers(0, min(5, rows) + 1)), replace=False) if rng.random() < 0.5 else []
    return Work(name, kind, int(rng.integers(POOL_ROWS)), rows, frozenset(map(int, bad)))


Given = Iterator[tuple[str, list[float]]]


def _ndjson(series: Given) -> bytes:
    return b"\n".join(orjson.dumps({"id": name, "closes": closes}) for name, closes in series)


def _json(series: Given) -> bytes:
    return orjson.dumps({"series": [{"id": name, "closes": closes} for name, closes in series]})


def _csv(series: Given) -> bytes:
    return "\n".join(["id,closes", *(f"{name},{' '.join(map(repr, closes))}" for name, closes in series)]).encode()


def _table(series: Given) -> pa.Table:
    names, closes = zip(*series, strict=True)
    return pa.table({"id": pa.array(names), "closes": pa.array(closes, pa.list_(pa.float64()))})


def _parquet(series: Given) -> bytes:
    sink = io.BytesIO()
    pq.write_table(_table(series), sink)
    return sink.getvalue()


def _arrow(series: Given) -> bytes:
    sink, table = io.BytesIO(), _table(series)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


KINDS: dict[str, tuple[str, Callable[[Given], bytes]]] = {
    "ndjson": ("application/x-ndjson", _ndjson),
    "json": ("application/json", _json),
    "csv": ("text/csv", _csv),
    "parquet": ("application/vnd.apache.parquet", _parquet),
    "arrow": ("application/vnd.apache.arrow.stream", _arrow),
}
RESULTS = ("ndjson", "csv", "parquet")
