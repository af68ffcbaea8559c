"""Uploads that are large: what reading them takes, and that forecasts do not wait for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from worker import intake
from worker.blobs import Blobs
from worker.intake import Upload
from worker.reading.formats import by_suffix
from worker.settings import WorkerSettings

MIB = 1024 * 1024
MOST_BYTES = 256 * MIB
"""What the process that reads an upload takes at most, whatever the upload's size."""
CLOSES = 250
SERIES_A_PART = 4000


def rows(part: int) -> pa.RecordBatch:
    """Some thousand series of a year, one a row."""
    closes = np.round(100 * np.exp(np.random.default_rng(part).standard_normal((SERIES_A_PART, CLOSES)) * 0.1), 2)
    ids = [f"S{part}-{row}" for row in range(SERIES_A_PART)]
    offsets = pa.array(np.arange(0, closes.size + 1, CLOSES, np.int32))
    return pa.record_batch({"id": ids, "closes": pa.ListArray.from_arrays(offsets, closes.ravel())})


def days(part: int) -> pa.RecordBatch:
    """The same, a row a series and day, sorted by series."""
    batch = rows(part)
    ids = batch["id"].take(pa.array(np.repeat(np.arange(len(batch)), CLOSES)))
    dates = pa.array(np.tile(np.arange(CLOSES, dtype=np.int32) + 19_000, len(batch))).cast(pa.date32())
    return pa.record_batch({"id": ids, "date": dates, "close": batch["closes"].flatten()})


def by_date(part: int) -> pa.RecordBatch:
    """A day of 100,000 series: one close each."""
    ids = [f"S{row}" for row in range(100_000)]
    closes = np.round(100 + np.random.default_rng(part).standard_normal(len(ids)), 2)
    dates = pa.array(np.full(len(ids), 19_000 + part, np.int32)).cast(pa.date32())
    return pa.record_batch({"id": ids, "date": dates, "close": closes})


def text_rows(file: Path, size: int, line: Callable[[str, bytes], bytes], head: bytes) -> int:
    """Lines of one series each, of which the last megabytes are written again and again under other ids."""
    cells = [" ".join(map(str, closes)).encode() for closes in rows(0)["closes"].to_pylist()]
    count = 0
    with file.open("wb") as out:
        out.write(head)
        while out.tell() < size:
            out.writelines(line(f"S{count + at}", cell) for at, cell in enumerate(cells))
            count += len(cells)
    return count


def csv_rows(file: Path, size: int) -> int:
    return text_rows(file, size, lambda name, cell: b"%b,%b\n" % (name.encode(), cell), b"id,closes\n")


def ndjson_rows(file: Path, size: int) -> int:
    def line(name: str, cell: bytes) -> bytes:
        return b'{"id":"%b","closes":[%b]}\n' % (name.encode(), cell.replace(b" ", b","))

    return text_rows(file, size, line, b"")


def ndjson_long(file: Path, size: int) -> int:
    closes = [str(close).encode() for close in rows(0)["closes"][0].as_py()]
    dates = [str(day).encode() for day in days(0)["date"].to_pylist()[:CLOSES]]
    count = 0
    with file.open("wb") as out:
        while out.tell() < size:
            name = b"S%d" % count
            lines = zip(dates, closes, strict=True)
            out.writelines(b'{"id":"%b","date":"%b","close":%b}\n' % (name, day, close) for day, close in lines)
            count += 1
    return count


def csv_long(file: Path, size: int, make: Callable[[int], pa.RecordBatch] = days) -> int:
    part = 0
    with file.open("wb") as out:
        while out.tell() < size:
            plain = pacsv.WriteOptions(include_header=part == 0, quoting_style="needed", quoting_header="none")
            pacsv.write_csv(make(part), out, plain)
            part += 1
    return part * SERIES_A_PART if make is days else 100_000


def parquet(file: Path, size: int, make: Callable[[int], pa.RecordBatch] = rows) -> int:
    part = 0
    with pq.ParquetWriter(file, make(0).schema, compression="none", use_dictionary=False) as writer:
        while file.stat().st_size < size:
            writer.write_batch(make(part), row_group_size=10**9)
            part += 1
    return part * SERIES_A_PART


def one_batch(file: Path, size: int) -> int:
    """An Arrow file whose only batch is all of it."""
    parts = size // rows(0).nbytes + 1
    table = pa.Table.from_batches([rows(part) for part in range(parts)]).combine_chunks()
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    return len(table)


def stream(file: Path, size: int) -> int:
    with pa.ipc.new_stream(str(file), rows(0).schema) as writer:
        for part in range(size // rows(0).nbytes + 1):
            writer.write_batch(rows(part))
    return (part + 1) * SERIES_A_PART


LARGE: dict[str, Callable[[Path, int], int]] = {
    "rows.csv": csv_rows,
    "rows.ndjson": ndjson_rows,
    "rows.parquet": parquet,
    "rows.arrow": one_batch,
    "rows.arrows": stream,
    "long.csv": csv_long,
    "long.ndjson": ndjson_long,
    "long.parquet": lambda file, size: parquet(file, size, days),
    "by-date.csv": lambda file, size: csv_long(file, size, by_date),
}
QUICK = ("rows.ndjson", "rows.parquet", "by-date.csv")
"""Those that stand for the others where there is no time for all."""


def read_large(name: str, size: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Series written, and bytes of memory that reading them took."""
    peaks = []
    watched = intake._watched

    def noted(*args: object) -> object:
        found = watched(*args)  # type: ignore[arg-type]
        peaks.append(getattr(found, "peak_bytes", 0))
        return found

    monkeypatch.setattr(intake, "_watched", noted)
    file = folder / name
    count = LARGE[name](file, size)
    settings = WorkerSettings(jobs_url=str(folder / "jobs"), max_job_bytes=4 * size, max_job_decoded_bytes=4 * size)
    upload, blobs = Upload(file.open("rb"), by_suffix(name)[0] or ""), Blobs.of(str(folder / "jobs"))
    with upload.body:
        taken = intake.take(upload, job_id="0" * 32, blobs=blobs, settings=settings, join=())
    blobs.delete("0" * 32)
    print(f"{name}: {file.stat().st_size / MIB:.0f} MiB, {count} series, peak {peaks[0] / MIB:.0f} MiB")
    file.unlink()
    assert taken.plan.total == count
    return count, peaks[0]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in QUICK else pytest.mark.drill) for name in LARGE]
)
def test_two_hundred_megabytes_are_read_in_a_bounded_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, peak = read_large(name, 200 * MIB, tmp_path, monkeypatch)

    assert peak < MOST_BYTES


@pytest.mark.drill
@pytest.mark.parametrize("name", LARGE)
def test_two_gigabytes_are_read_in_the_same_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, peak = read_large(name, 2048 * MIB, tmp_path, monkeypatch)

    assert peak < MOST_BYTES
