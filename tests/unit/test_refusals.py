"""What cannot be made ready is waited for while it changes, then refused, once."""

from pathlib import Path

import pytest

from models.errors import BundleError
from models.refusals import LOOK_AGAIN_S, SETTLE_S, Files, Refusals, files_of

FILES: Files = ((".", 0, 2**62, 1), ("card.json", 7, 2**62, 2))
OTHERS: Files = ((".", 0, 2**62, 1), ("card.json", 8, 2**62, 2))
LONG_AGO: Files = ((".", 0, 0, 1),)
ERROR = BundleError(path="/srv/store/lstm/2", reason="model.onnx has sha256 a, its card says b")


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock)


def test_files_that_still_change_are_waited_for_and_nothing_is_counted(refusals: Refusals) -> None:
    refusals.note("lstm", 2, FILES, ERROR, at_once=False)

    assert refusals.reason("lstm", 2) == "waited for: model.onnx has sha256 a, its card says b"
    assert refusals.standing("lstm", 2, FILES) is ERROR
    assert refusals.standing("lstm", 2, OTHERS) is None
    assert not refusals.counts


def test_files_that_have_settled_are_refused_once(
    refusals: Refusals, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals.note("lstm", 2, FILES, ERROR, at_once=False)
    clock.now_s += SETTLE_S
    tried_once_more = refusals.standing("lstm", 2, FILES) is None
    for _ in range(3):
        refusals.note("lstm", 2, FILES, ERROR, at_once=False)
        clock.now_s += LOOK_AGAIN_S

    assert tried_once_more
    assert refusals.reason("lstm", 2) == "refused: model.onnx has sha256 a, its card says b"
    assert refusals.counts == {"lstm": 1}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_files_that_have_not_changed_for_long_are_refused_at_first_sight(refusals: Refusals) -> None:
    refusals.note("lstm", 2, LONG_AGO, ERROR, at_once=False)

    assert refusals.counts == {"lstm": 1}


def test_who_asks_now_is_told_now(refusals: Refusals) -> None:
    refusals.note("lstm", 2, FILES, ERROR, at_once=True)

    assert refusals.counts == {"lstm": 1}


def test_each_change_of_the_files_counts_anew(refusals: Refusals) -> None:
    for files in (FILES, OTHERS, FILES):
        refusals.note("lstm", 2, files, ERROR, at_once=True)

    assert refusals.counts == {"lstm": 3}


def test_a_refused_version_is_tried_again_now_and_then_since_a_disk_may_come_back(
    refusals: Refusals, clock: Clock
) -> None:
    refusals.note("lstm", 2, LONG_AGO, ERROR, at_once=False)
    clock.now_s += LOOK_AGAIN_S - 1
    early = refusals.standing("lstm", 2, LONG_AGO)
    clock.now_s += 1

    assert early is ERROR
    assert refusals.standing("lstm", 2, LONG_AGO) is None


def test_versions_that_are_gone_are_forgotten(refusals: Refusals) -> None:
    refusals.note("lstm", 2, FILES, ERROR, at_once=True)
    refusals.note("rnn", 2, FILES, ERROR, at_once=True)

    refusals.keep("lstm", [1])

    assert refusals.reason("lstm", 2) is None
    assert refusals.reason("rnn", 2) is not None


def test_any_change_of_a_folder_shows(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("one")
    seen = [files_of(tmp_path)]
    for change in (
        lambda: (tmp_path / "card.json").write_text("two"),
        lambda: (tmp_path / "model.onnx").write_text(""),
        (tmp_path / "card.json").unlink,
    ):
        change()
        seen.append(files_of(tmp_path))

    assert len(set(seen)) == 4
    assert files_of(tmp_path / "nothing") == ()
