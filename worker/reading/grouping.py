"""
The long layout, a row a series and day: rows in any order become series, in memory that does not grow with the upload.

Rows that count are records of 16 bytes: number of the series in order of first appearance, day, close. Beyond
`HELD_RECORDS` they go to a scratch file, each run of them sorted by series; at the end a range of series is read from
all runs at a time, sorted by day, and checked.

Most tables have the rows of a series side by side. Then a series is whole once the next one begins, which saves all of
that. Nothing says so of a table beforehand: where a series comes back that was given already, whoever reads starts
again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.bounds import MAX_DAYS
from models.ragged import Doubles, Flags, Ints
from worker.errors import TableError
from worker.reading.series import Batches, batch, lists
from worker.reading.sources import Source

NO_DAY = -(2**31)
"""In place of a date that cannot be read; it sorts before every day."""
HELD_RECORDS = 512 * 1024
"""Records that are held in memory, 8 MiB, before they go to the scratch file."""
RANGE_RECORDS = 256 * 1024
"""Records that are made into series at a time."""
SERIES_A_MARK = 256
"""Series between two marks into a run, so that what is read at a time has this many of `MAX_DAYS` at most."""

_RECORD = np.dtype([("series", "<u4"), ("day", "<i4"), ("close", "<f8")])
_NONE = np.empty(0, _RECORD)
_NEVER = np.iinfo(np.int64).max
Records = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Cells:
    """
    Some rows of a long table; N of them.

    Attributes:
        ids: Text, coded in order of first appearance; the empty text where a row has none.
        days: Days since 1970, `NO_DAY` where the date cannot be read. Shape ``(N,)``.
        closes: NaN where there is no number. Shape ``(N,)``.
        blank: Where there is no close. Shape ``(N,)``; None where there is one everywhere.
        quote: The close and the date of a row as they stand in the upload.
        joined: The caller's own columns.
    """

    ids: pa.DictionaryArray
    days: npt.NDArray[np.int32]
    closes: Doubles
    blank: Flags | None
    quote: Callable[[int], tuple[str, str]]
    joined: dict[str, pa.Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Run:
    """Records sorted by series: in memory, or in the scratch file; `marks` say where each `SERIES_A_MARK` begin."""

    marks: Ints
    records: Records | None
    offset: int = 0

    def part(self, first: int, last: int, file: BinaryIO | None) -> Records:
        """The records between two marks; beyond the last there is nothing."""
        start, end = (int(self.marks[min(mark, len(self.marks) - 1)]) for mark in (first, last))
        if self.records is not None or file is None:
            return _NONE if self.records is None else self.records[start:end]
        file.seek((self.offset + start) * _RECORD.itemsize)
        return np.frombuffer(file.read((end - start) * _RECORD.itemsize), _RECORD)


class Scattered(Exception):
    """A series came back that had been given as whole."""


class Grouping:
    """Takes rows, then gives series."""

    def __init__(self, source: Source, wanted: str = "2026-11-20") -> None:
        """
        Hold nothing yet.

        Args:
            source: Whose limits hold, where a scratch file may be, and whether series may be given early.
            wanted: What a date looks like.
        """
        self._limits = source.limits
        self._scratch = source.scratch
        self._wanted = wanted
        self._side_by_side = source.side_by_side
        self._given = 0
        self._numbers: dict[str, int] = {}
        self._names: list[pa.Array] = []
        self._counts = np.zeros(0, np.int64)
        self._fault_days = np.zeros(0, np.int64)
        self._faults: dict[int, str] = {}
        self._held: list[Records] = []
        self._held_count = self._closes = self._spilt = 0
        self._runs: list[_Run] = []
        self._file: BinaryIO | None = None
        self._joined: list[pa.Table] = []
        self._joined_types: dict[str, pa.DataType] = {}
        self._dated = False
        self._first_date = ""

    def add(self, cells: Cells) -> None:
        """
        Take some rows.

        Raises:
            UploadTooLarge: There are more series or closes than are taken.
            Scattered: As the class says.
        """
        self._joined_types = self._joined_types or {name: column.type for name, column in cells.joined.items()}
        if not len(cells.closes):
            return
        numbers = self._number(cells.ids.dictionary)
        self._check_given(int(numbers.min()))
        series = numbers[cells.ids.indices.to_numpy()]
        self._dated = self._dated or bool((cells.days != NO_DAY).any())
        self._first_date = self._first_date or cells.quote(0)[1]
        good = np.isfinite(cells.closes) & (cells.closes > 0) & (cells.days != NO_DAY)
        kept = good if cells.blank is None else good & ~cells.blank
        bad = ~good if cells.blank is None else ~good & ~cells.blank
        self._count(series if kept.all() and not bad.any() else series[kept | bad])
        if bad.any():
            self._note_faults(cells, series, np.flatnonzero(bad))
        kept &= self._counts[series] <= MAX_DAYS
        self._hold(series, cells, kept)
        if cells.joined:
            self._join(series, cells, np.flatnonzero(kept))

    def refuse(self, name: str, message: str) -> None:
        """Give a series a fault that comes before all others; the series is there from now on."""
        number = int(self._number(pa.array([name]))[0])
        self._check_given(number)
        if self._fault_days[number] > NO_DAY - 1:
            self._fault_days[number] = NO_DAY - 1
            self._faults[number] = message

    def whole(self) -> Batches:
        """The series before the last one, where all rows that are held lie side by side: they are let go."""
        if not self._side_by_side or not self._held_count or not self._dated:
            return
        records = self._held[0] if len(self._held) == 1 else np.concatenate(self._held)
        series = records["series"]
        if self._joined_types or self._runs or not (series[1:] >= series[:-1]).all():
            self._side_by_side = False
            return
        last = int(series[-1])
        if last > self._given:
            end = int(np.searchsorted(series, last))
            yield self._batch(self._given, last, records[:end], {})
            records = records[end:].copy()
            self._given = last
        self._held, self._held_count = [records], len(records)

    def batches(self) -> Batches:
        """
        The series, or what is left of them, in order of first appearance.

        Raises:
            TableError: There is no date that can be read.
        """
        if self._first_date and not self._dated:
            raise TableError(f"column `date` holds no date, but {self._first_date}; a date looks like {self._wanted}")
        self._flush(spill=bool(self._runs))
        joined, count = self._joined_rows(), len(self._numbers)
        for first, last in self._ranges(self._given // SERIES_A_MARK, -(-count // SERIES_A_MARK)):
            parts = [run.part(first, last, self._file) for run in self._runs]
            records = np.concatenate(parts) if parts else _NONE
            begin, end = max(first * SERIES_A_MARK, self._given), min(last * SERIES_A_MARK, count)
            yield self._batch(begin, end, records, joined)

    def close(self) -> None:
        """Let the scratch file go."""
        if self._file:
            self._file.close()

    def _number(self, names: pa.Array) -> Ints:
        """Numbers of some series, new ones for those that are new."""
        first = self._numbers.get(names[0].as_py()) if len(names) else None
        if first is None:
            return self._number_one_by_one(names)
        # Where rows are sorted by date, the series of a day come in the order of the day before.
        known = self._names_of(first, first + len(names))
        if not names[: len(known)].equals(known):
            return self._number_one_by_one(names)
        rest = self._number(names[len(known) :]) if len(known) < len(names) else np.empty(0, np.int64)
        return np.concatenate([np.arange(first, first + len(known)), rest])

    def _names_of(self, begin: int, end: int) -> pa.Array:
        """The names of some series, as far as there are so many, in the order of their numbers."""
        return pa.chunked_array(self._names, pa.string()).slice(begin, end - begin).combine_chunks()

    def _check_given(self, lowest: int) -> None:
        if lowest < self._given:
            raise Scattered

    def _number_one_by_one(self, names: pa.Array) -> Ints:
        known, before = self._numbers, len(self._numbers)
        numbers = np.fromiter((known.setdefault(name, len(known)) for name in names.to_pylist()), np.int64, len(names))
        self._limits.check_rows(len(known))
        self._names.append(names.filter(pa.array(numbers >= before)))
        if (more := len(known) - len(self._counts)) > 0:
            more = max(more, len(self._counts) // 2)
            self._counts = np.concatenate([self._counts, np.zeros(more, np.int64)])
            self._fault_days = np.concatenate([self._fault_days, np.full(more, _NEVER)])
        return numbers

    def _count(self, series: Ints) -> None:
        np.add.at(self._counts, series, 1) if len(series) < 1000 else self._count_many(series)
        self._closes += len(series)
        self._limits.check_closes(self._closes)

    def _count_many(self, series: Ints) -> None:
        lowest = int(series.min())
        counts = np.bincount(series - lowest)
        self._counts[lowest : lowest + len(counts)] += counts

    def _note_faults(self, cells: Cells, series: Ints, bad: Ints) -> None:
        """The earliest bad row of each series, by day."""
        days = cells.days[bad].astype(np.int64)
        news = days < self._fault_days[series[bad]]
        bad, days = bad[news], days[news]
        order = np.lexsort((days, series[bad]))
        owners, first = np.unique(series[bad][order], return_index=True)
        for owner, at, day in zip(
            owners.tolist(), bad[order][first].tolist(), days[order][first].tolist(), strict=True
        ):
            self._fault_days[owner] = day
            self._faults[owner] = self._why(cells, at)

    def _why(self, cells: Cells, at: int) -> str:
        close, date = cells.quote(at)
        if cells.days[at] == NO_DAY:
            return f"has the date {date}; a date looks like {self._wanted}"
        return f"has the close {close} on {_iso(cells.days[at])}; a close is a positive, finite number"

    def _hold(self, series: Ints, cells: Cells, kept: Flags) -> None:
        records = np.empty(int(np.count_nonzero(kept)), _RECORD)
        every = len(records) == len(kept)
        records["series"] = series if every else series[kept]
        records["day"] = cells.days if every else cells.days[kept]
        records["close"] = cells.closes if every else cells.closes[kept]
        self._held.append(records)
        self._held_count += len(records)
        if self._held_count >= HELD_RECORDS:
            self._flush(spill=True)

    def _flush(self, *, spill: bool) -> None:
        """What is held becomes a run, in the scratch file or as it is."""
        if not self._held_count:
            return
        records = _by_series(np.concatenate(self._held))
        self._held, self._held_count = [], 0
        edges = np.arange(0, len(self._numbers) + SERIES_A_MARK, SERIES_A_MARK)
        marks = np.searchsorted(records["series"], edges)
        if not spill:
            self._runs.append(_Run(marks, records))
            return
        self._file = self._file or self._scratch()
        self._file.seek(self._spilt * _RECORD.itemsize)
        self._file.write(records.view(np.uint8).data)
        self._runs.append(_Run(marks, None, self._spilt))
        self._spilt += len(records)

    def _ranges(self, begin: int, marks: int) -> Iterator[tuple[int, int]]:
        """Marks from which to which there are about as many records as are made into series at a time."""
        counts = np.zeros(marks, np.int64)
        for run in self._runs:
            own = np.diff(run.marks)[:marks]
            counts[: len(own)] += own
        first, held = begin, 0
        for mark in range(begin, marks):
            if held and held + counts[mark] > RANGE_RECORDS:
                yield first, mark
                first, held = mark, 0
            held += int(counts[mark])
        if first < marks:
            yield first, marks

    def _batch(self, begin: int, end: int, records: Records, joined: dict[str, pa.Array]) -> pa.RecordBatch:
        """The series of a range out of their records."""
        records = _by_series_and_day(records)
        rows, days = records["series"].astype(np.int64) - begin, records["day"]
        lengths = np.bincount(rows, minlength=end - begin)
        lasts = np.cumsum(lengths) - 1
        as_ofs = pa.array(days[np.maximum(lasts, 0)] if len(days) else np.zeros(end - begin, np.int32), pa.date32())
        faults = self._found(begin, end, rows, days)
        blank = lengths == 0
        blank[list(faults)] = True
        return batch(
            self._names_of(begin, end),
            pc.if_else(pa.array(blank), pa.scalar(None, pa.string()), as_ofs.cast(pa.string())),
            lists(np.ascontiguousarray(records["close"]), lengths),
            faults,
            {name: column.slice(begin, end - begin) for name, column in joined.items()},
        )

    def _found(self, begin: int, end: int, rows: Ints, days: npt.NDArray[np.int32]) -> dict[int, str]:
        counts = self._counts[begin:end]
        found = dict.fromkeys(np.flatnonzero(counts == 0).tolist(), "has no close; a series has at least one")
        again = np.flatnonzero((rows[1:] == rows[:-1]) & (days[1:] == days[:-1])) + 1
        owners, first = np.unique(rows[again], return_index=True)
        for row, at in zip(owners.tolist(), again[first].tolist(), strict=True):
            if days[at] < self._fault_days[begin + row]:
                found[row] = f"has {_iso(days[at])} twice; a day has one close"
        for row in np.flatnonzero(self._fault_days[begin:end] != _NEVER).tolist():
            found.setdefault(row, self._faults[begin + row])
            if self._fault_days[begin + row] < NO_DAY:
                found[row] = self._faults[begin + row]
        for row in np.flatnonzero(counts > MAX_DAYS).tolist():
            found[row] = f"has {counts[row]} closes; at most {MAX_DAYS} are taken"
        if (nameless := self._numbers.get("", -1)) >= begin and nameless < end:
            found[nameless - begin] = self._nameless()
        return found

    def _nameless(self) -> str:
        return self._faults[self._numbers[""]] if self._fault_days[self._numbers[""]] < NO_DAY else _NAMELESS

    def _join(self, series: Ints, cells: Cells, kept: Ints) -> None:
        """Keep the row of each series' last day."""
        if not len(kept):
            return
        last = _last_of_each(series[kept], cells.days[kept])
        taken = pa.array(kept[last])
        columns = {name: column.take(taken) for name, column in cells.joined.items()}
        own = {"series": series[kept][last], "day": cells.days[kept][last]}
        self._joined.append(pa.table([*map(pa.array, own.values()), *columns.values()], names=[*own, *columns]))
        if sum(map(len, self._joined)) > 4 * len(self._numbers) + HELD_RECORDS // 16:
            self._compact()

    def _compact(self) -> None:
        whole = pa.concat_tables(self._joined)
        last = _last_of_each(whole["series"].to_numpy(), whole["day"].to_numpy())
        self._joined = [whole.take(pa.array(last)).combine_chunks()]

    def _joined_rows(self) -> dict[str, pa.Array]:
        """The caller's own columns, a value a series, null where none of its rows counts."""
        if not self._joined:
            return {name: pa.nulls(len(self._numbers), kind) for name, kind in self._joined_types.items()}
        self._compact()
        (table,) = self._joined
        place = np.full(len(self._numbers), -1)
        place[table["series"].to_numpy()] = np.arange(len(table))
        taken = pa.array(place, mask=place < 0)
        return {
            name: table.column(at).combine_chunks().take(taken) for at, name in enumerate(table.column_names) if at > 1
        }


def grouped(source: Source, parts: Iterable[tuple[Iterable[Cells], Iterable[tuple[str, str]]]]) -> Batches:
    """
    The series of a long table.

    Args:
        source: As `Grouping` takes it.
        parts: Rows of it, each part with those that were refused: the series' name, and what is wrong.

    Raises:
        Scattered: As for `Grouping`.
    """
    with closing(Grouping(source)) as grouping:
        for cells, refused in parts:
            for each in cells:
                grouping.add(each)
            for name, message in refused:
                grouping.refuse(name, message)
            yield from grouping.whole()
        yield from grouping.batches()


_NAMELESS = "has a row without an id; each row names its series"


def coded_ids(ids: pa.Array) -> pa.DictionaryArray:
    """Ids as `Cells` has them."""
    if pa.types.is_dictionary(ids.type) and not ids.null_count and ids.type.value_type == pa.string():
        return ids
    texts = ids.cast(pa.string())
    return (pc.fill_null(texts, "") if texts.null_count else texts).dictionary_encode()


def quoting(closes: Sequence[object], dates: Sequence[object]) -> Callable[[int], tuple[str, str]]:
    """A `Cells.quote` of values that are at hand."""
    return lambda at: (str(closes[at]), str(dates[at]))


def _by_series(records: Records) -> Records:
    series = records["series"]
    if np.all(series[1:] >= series[:-1]):
        return records
    return records[np.argsort(series, kind="stable")]


def _by_series_and_day(records: Records) -> Records:
    key = (records["series"].astype(np.int64) << 32) + records["day"]
    return records if np.all(key[1:] >= key[:-1]) else records[np.argsort(key, kind="stable")]


def _last_of_each(series: Ints, days: npt.NDArray[np.int32]) -> Ints:
    """Positions of the last day of each series."""
    order = np.lexsort((days, series))
    ends = np.flatnonzero(np.r_[series[order][1:] != series[order][:-1], True])
    return np.asarray(order[ends])


def _iso(day: int) -> str:
    return str(np.datetime64(int(day), "D"))
