"""What the process that reads an upload answers, whatever happens in it."""

import io
from multiprocessing.connection import Connection

import pyarrow as pa
import pytest

from models.errors import EmptyRequest, NextdayError
from tests.unit.uploads import WAYS
from worker import intake, intake_process
from worker.errors import TableError, UploadTooLarge
from worker.intake_process import Task, convert, raised
from worker.reading.formats import CSV
from worker.reading.limits import Limits
from worker.requests import Fault, InvalidJson, InvalidRequest


def task(media_type: str = CSV) -> Task:
    return Task(
        media_type=media_type, encoding="", join=(), limits=Limits(), folder="", chunk_rows=10, chunk_closes=100,
        max_bytes=100, memory_bytes=2**26,
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        TableError("line 3"),
        EmptyRequest(),
        InvalidJson(reason="none"),
        InvalidRequest(faults=[Fault("/horizon", "too far")]),
        UploadTooLarge(what="has 3 rows", most=2, setting="max_job_rows"),
        OSError(28, "No space left on device"),
    ],
)
def test_an_error_crosses_to_who_waits_as_it_was_raised(error: Exception) -> None:
    crossed = raised(intake_process._packed(error))

    assert type(crossed) is type(error)
    assert str(crossed) == str(error)
    assert vars(crossed) == vars(error)
    assert isinstance(crossed, NextdayError) or crossed.errno == 28


def test_a_report_is_no_error() -> None:
    report = convert(task(), io.BytesIO(WAYS["csv rows"]([("A", [1.0, 2.0])])[0]), io.BytesIO())

    assert raised(report) is None
    assert report.plan.total == 1
    assert report.peak_bytes > 0


def test_too_little_memory_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(intake_process, "read", hungry)

    with pytest.raises(UploadTooLarge, match="NEXTDAY_INTAKE_MIB"):
        convert(task(), io.BytesIO(b""), io.BytesIO())


def tell_pool(answer: Connection) -> None:
    """What a process that reads is asked here."""
    answer.send(pa.default_memory_pool().backend_name)


def test_the_memory_that_reading_takes_is_the_system_s_which_each_process_takes_least_of() -> None:
    intake._start_server()
    answers, answer = intake._context.Pipe(duplex=False)
    process = intake._context.Process(target=tell_pool, args=(answer,))
    process.start()
    process.join(30)

    assert answers.poll(0)
    assert answers.recv() == "system"
