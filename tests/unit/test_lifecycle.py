"""One service in several processes: here several life cycles of one folder, each with models of its own."""

import fcntl
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.repository import Repository
from models.wanted import Wanted, Wish
from service import lifecycle as lifecycle_module
from service.errors import ModelNotFound, StateUnavailable, VersionRefused
from service.heartbeats import Heartbeat
from service.lifecycle import Lifecycle
from service.wishes import Wishes
from tests.versions import other_weights, put, store_of

DEADLINE_S = 20.0


class Process:
    """A process of a service, as far as models go."""

    def __init__(self, folder: Path) -> None:
        self.models = Repository(folder / "store")
        self.lifecycle = Lifecycle(self.models, folder / "state", watch_s=0.05)

    def start(self) -> "Process":
        self.lifecycle.join()
        self.models.load_newest()
        self.lifecycle.watch()
        return self


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store_of(tmp_path / "store", "lstm", "mlp")
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[list[Process]]:
    processes = [Process(folder).start(), Process(folder).start()]
    yield processes
    for each in processes:
        each.lifecycle.stop()


def serving(service: list[Process], name: str = "lstm") -> list[int | None]:
    return [each.models.serving(name) for each in service]


def until_all_serve(service: list[Process], version: int | None) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while serving(service) != [version] * len(service):
        assert time.monotonic() < deadline, serving(service)
        time.sleep(0.01)


def test_a_new_version_is_noticed_by_every_process(service: list[Process], folder: Path) -> None:
    put(folder / "store", other_weights(2))

    until_all_serve(service, 2)


def test_a_change_is_followed_by_every_process_when_its_call_returns(service: list[Process], folder: Path) -> None:
    put(folder / "store", other_weights(2))
    until_all_serve(service, 2)
    seen = []
    for process, change in (
        (0, lambda each: each.serve("lstm", 1)),
        (1, lambda each: each.unload("lstm")),
        (0, lambda each: each.load("lstm")),
        (1, lambda each: each.serve("lstm", None)),
    ):
        applied = change(service[process].lifecycle)
        seen.append((applied.processes, applied.behind, serving(service)))

    assert seen == [(2, 0, [1, 1]), (2, 0, [None, None]), (2, 0, [1, 1]), (2, 0, [2, 2])]


def test_a_process_that_starts_later_follows_what_was_wanted_before(service: list[Process], folder: Path) -> None:
    put(folder / "store", other_weights(2))
    service[0].lifecycle.serve("lstm", 1)
    service[0].lifecycle.unload("mlp")

    later = Process(folder).start()
    service.append(later)

    assert (later.models.serving("lstm"), later.models.serving("mlp")) == (1, None)


def test_loading_takes_a_new_version_at_once(folder: Path) -> None:
    process = Process(folder)  # whose watcher has not begun
    process.models.load_newest()
    put(folder / "store", other_weights(2))

    process.lifecycle.load("lstm")

    assert process.models.serving("lstm") == 2


def test_a_version_that_is_refused_changes_nothing(service: list[Process], folder: Path) -> None:
    bundle = other_weights(2)
    (put(folder / "store", bundle) / "model.onnx").write_bytes(bundle.model[:-1])
    before = service[0].models.wanted

    with pytest.raises(VersionRefused, match=r"refused: model.onnx has sha256 .*; version 1 goes on"):
        service[0].lifecycle.serve("lstm", 2)

    assert service[0].models.wanted == before
    assert not (folder / "state" / "serving.json").exists()


def test_loading_where_the_newest_is_refused_says_so_and_the_older_one_serves(
    service: list[Process], folder: Path
) -> None:
    bundle = other_weights(2)
    (put(folder / "store", bundle) / "model.onnx").write_bytes(bundle.model[:-1])
    service[0].lifecycle.unload("lstm")

    with pytest.raises(VersionRefused, match="version 1 goes on"):
        service[1].lifecycle.load("lstm")

    assert serving(service) == [1, 1]


def test_no_change_is_made_to_a_model_that_there_is_not(service: list[Process]) -> None:
    for change in (service[0].lifecycle.load, service[0].lifecycle.unload, lambda each: service[0].lifecycle.serve(
        each, None)):  # fmt: skip
        with pytest.raises(ModelNotFound, match="there is no model 'gpt'"):
            change("gpt")


def test_of_changes_at_once_the_last_one_written_wins_everywhere(service: list[Process], folder: Path) -> None:
    put(folder / "store", other_weights(2))
    until_all_serve(service, 2)

    def change(process: Process, offset: int) -> None:
        for turn in range(6):
            step = (turn + offset) % 3
            if step == 0:
                process.lifecycle.unload("lstm")
            elif step == 1:
                process.lifecycle.load("lstm")
            else:
                process.lifecycle.serve("lstm", 1 + turn % 2)

    threads = [threading.Thread(target=change, args=(each, offset)) for offset, each in enumerate(2 * service)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    written = json.loads((folder / "state" / "serving.json").read_text())

    assert not [thread for thread in threads if thread.is_alive()]
    assert written["generation"] == len(threads) * 6
    wish = written["models"]["lstm"]
    until_all_serve(service, None if wish["unloaded"] else wish["pinned"] or 2)


def test_a_process_that_does_not_follow_is_told_after_a_while(
    service: list[Process], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_module, "FOLLOW_S", 0.3)
    stuck = Heartbeat(folder / "state")
    stuck.beat(0)

    applied = service[0].lifecycle.unload("lstm")

    assert (applied.processes, applied.behind) == (2, 1)
    stuck.end()


def test_a_process_that_was_killed_is_not_waited_for_and_its_file_is_removed(
    service: list[Process], folder: Path
) -> None:
    code = (
        f"from service.heartbeats import *; Heartbeat(Path({str(folder / 'state')!r})).beat(0); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    files = len(list((folder / "state" / "processes").glob("*.json")))

    applied = service[0].lifecycle.unload("lstm")

    assert files == 3
    assert (applied.processes, applied.behind) == (2, 0)
    assert len(list((folder / "state" / "processes").glob("*.json"))) == 2


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"generation": "x"}', b"\xff\xfe", b'{"generation": 1, "more": 2}'])
def test_a_file_that_cannot_be_read_is_told_once_and_what_was_wanted_goes_on(
    folder: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    wishes = Wishes(folder)
    wanted = wishes.change("lstm", lambda _: Wish(pinned=1))
    (folder / "serving.json").write_bytes(garbage)

    read = [wishes.read() for _ in range(3)]

    assert read == [wanted] * 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert wishes.change("mlp", lambda _: Wish(unloaded=True)).of("lstm").pinned == 1
    assert Wishes(folder).read().generation == 2


def test_a_change_is_followed_though_the_file_was_lost_to_the_process_that_makes_it(
    service: list[Process], folder: Path
) -> None:
    for _ in range(3):
        service[0].lifecycle.unload("lstm")
    (folder / "state" / "serving.json").write_bytes(b"garbled")
    service.append(Process(folder).start())

    service[2].lifecycle.unload("mlp")

    assert serving(service, "mlp") == [None] * 3


def test_nothing_is_wanted_where_there_is_no_file(tmp_path: Path) -> None:
    assert Wishes(tmp_path / "nowhere").read() == Wanted()


def test_a_state_that_cannot_be_written_is_told_and_nothing_changes(folder: Path) -> None:
    (folder / "state").write_text("a file where a folder should be")
    process = Process(folder).start()

    with pytest.raises(StateUnavailable, match="nothing has changed"):
        process.lifecycle.unload("lstm")

    assert process.models.serving("lstm") == 1
    process.lifecycle.stop()


def test_a_lock_that_is_held_too_long_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.wishes.LOCK_S", 0.1)
    with (folder / "serving.lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)

        with pytest.raises(StateUnavailable):
            Wishes(folder).change("lstm", lambda _: Wish())
