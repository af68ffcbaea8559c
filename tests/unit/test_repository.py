"""Versions come, serve, are pinned, unloaded and refused, in one process."""

import gc
import logging
import shutil
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.bundle import read_card
from models.errors import BundleError, ModelUnloaded, ProviderUnavailable, UnknownModel
from models.execution import CPU, CUDA
from models.ragged import Ragged
from models.repository import KEPT_VERSIONS, NOT_LOADED, NotAtHand, Repository
from models.wanted import Wanted, Wish
from tests.versions import SHIPPED, other_weights, put, store_of, write_card

ROWS = Ragged.of([[100.0, 101.0, 99.5]])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path, "lstm", "mlp")


@pytest.fixture
def models(store: Path) -> Repository:
    repository = Repository(store)
    assert repository.load_newest() == {}
    return repository


def reasons(models: Repository, name: str = "lstm") -> dict[int, str]:
    return {each.version: each.reason for each in models.states(name)}


def test_a_new_version_takes_over_once_it_is_looked_for(models: Repository, store: Path) -> None:
    before = models.get("lstm")
    put(store, other_weights(2))
    unnoticed = models.get("lstm")

    models.refresh()

    assert unnoticed is before
    assert models.serving("lstm") == models.get("lstm").card.version == 2
    assert models.get("lstm", 1) is before
    assert not np.array_equal(models.get("lstm").run(ROWS), before.run(ROWS))


def test_a_model_that_was_handed_out_before_a_switch_goes_on_as_it_was(models: Repository, store: Path) -> None:
    before, quantiles = models.get("lstm"), models.get("lstm").run(ROWS)
    put(store, other_weights(2))
    models.refresh()

    assert np.array_equal(before.run(ROWS), quantiles)
    assert before.walk is models.get("lstm", 1).walk


def test_the_days_to_come_are_those_of_the_weights_that_were_loaded_whatever_lies_on_disk_now(
    models: Repository, store: Path
) -> None:
    before = models.get("lstm").walk.ratios(ROWS.values[None])
    (store / "lstm" / "1" / "walk.onnx").write_bytes(other_weights(2).walk)

    assert np.array_equal(models.get("lstm", 1).walk.ratios(ROWS.values[None]), before)


def test_what_is_still_being_copied_is_waited_for(
    models: Repository, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = other_weights(2)
    folder = store / bundle.path
    folder.mkdir()
    seen = []
    for write in (
        lambda: write_card(folder, bundle.card),
        lambda: (folder / "model.onnx").write_bytes(bundle.model[:1000]),
        lambda: (folder / "model.onnx").write_bytes(bundle.model),
        lambda: (folder / "walk.onnx").write_bytes(bundle.walk),
    ):
        models.refresh()
        seen.append((models.serving("lstm"), reasons(models)[2][:10]))
        write()
    models.refresh()

    assert seen == [(1, "waited for")] * 4
    assert models.serving("lstm") == 2
    assert not models.refusals
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def flip_a_bit(folder: Path) -> None:
    model = bytearray((folder / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.onnx").write_bytes(model)


def truncate(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def swap_files(folder: Path) -> None:
    shutil.copy(folder.parents[1] / "mlp" / "1" / "model.onnx", folder)


def take_the_card_of_another_version(folder: Path) -> None:
    shutil.copytree(folder.parent / "1", folder, dirs_exist_ok=True)


def take_another_models_bundle(folder: Path) -> None:
    shutil.copytree(folder.parents[1] / "mlp" / "1", folder, dirs_exist_ok=True)
    write_card(folder, msgspec.structs.replace(read_card(folder), version=2))


def break_the_card(folder: Path) -> None:
    (folder / "card.json").write_text('{"name": "lstm", ')


def lose_everything(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (flip_a_bit, "model.onnx has sha256"),
        (truncate, "model.onnx has sha256"),
        (swap_files, "model.onnx has sha256"),
        (take_the_card_of_another_version, "its card is that of lstm version 1"),
        (take_another_models_bundle, "its card is that of mlp version 2"),
        (break_the_card, "card.json: Input data was truncated"),
        (lose_everything, "card.json: No such file or directory"),
    ],
)
def test_a_bad_version_is_refused_with_its_reason_while_the_old_one_goes_on(
    models: Repository, store: Path, spoil: Callable[[Path], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = models.get("lstm")
    spoil(put(store, other_weights(2)))

    with pytest.raises(BundleError):
        models.prepare("lstm")
    for _ in range(3):
        models.refresh()

    assert models.get("lstm") is before
    assert models.load_newest() == {}
    assert reasons(models)[2].startswith(f"refused: {reason}")
    assert str(store) not in reasons(models)[2]
    assert models.refusals == {"lstm": 1}
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_refused_version_serves_once_it_is_mended(models: Repository, store: Path) -> None:
    folder = put(store, other_weights(2))
    flip_a_bit(folder)
    with pytest.raises(BundleError):
        models.prepare("lstm")

    (folder / "model.onnx").write_bytes(other_weights(2).model)
    models.refresh()

    assert models.serving("lstm") == 2


def test_at_the_start_an_older_version_serves_where_the_newest_is_refused(store: Path) -> None:
    flip_a_bit(put(store, other_weights(2)))

    models = Repository(store)

    assert models.load_newest() == {}
    assert models.serving("lstm") == 1


def test_a_pinned_version_serves_and_no_newer_one_is_taken(models: Repository, store: Path) -> None:
    put(store, other_weights(2))
    models.refresh()

    models.want(models.wanted.changed("lstm", Wish(pinned=1)))
    put(store, other_weights(3))
    models.refresh()

    assert models.serving("lstm") == 1
    assert reasons(models) == {1: "", 2: "", 3: NOT_LOADED}
    models.want(models.wanted.changed("lstm", Wish()))
    assert models.serving("lstm") == 3


def test_a_pinned_version_that_is_refused_is_not_replaced_by_another(store: Path) -> None:
    flip_a_bit(put(store, other_weights(2)))
    models = Repository(store)
    models.want(Wanted().changed("lstm", Wish(pinned=2)))

    assert "sha256" in models.load_newest()["lstm"]
    assert models.serving("lstm") is None


def test_nothing_of_an_unloaded_model_is_handed_out_until_it_is_loaded(models: Repository) -> None:
    models.want(models.wanted.changed("lstm", Wish(unloaded=True)))
    models.refresh()

    for version in (None, 1):
        with pytest.raises(ModelUnloaded, match="'lstm' is unloaded"):
            models.get("lstm", version)
    assert models.load_newest() == {}
    assert reasons(models) == {1: "unloaded"}
    assert models.get("mlp").card.name == "mlp"
    models.want(models.wanted.changed("lstm", Wish()))
    assert models.serving("lstm") == 1


def test_the_memory_of_an_unloaded_model_is_free_once_the_last_request_is_done(models: Repository) -> None:
    request = models.get("lstm")
    left = weakref.ref(request)
    gc.disable()  # what a circle of references holds would be freed by chance
    try:
        models.want(models.wanted.changed("lstm", Wish(unloaded=True)))
        held = left() is not None
        del request

        assert held
        assert left() is None
    finally:
        gc.enable()


def test_an_older_wish_that_comes_late_changes_nothing(models: Repository) -> None:
    first = models.wanted.changed("lstm", Wish(unloaded=True))
    second = first.changed("lstm", Wish())

    models.want(second)
    models.want(first)

    assert models.serving("lstm") == 1


def test_a_version_whose_folder_is_gone_leaves_once_another_can_serve(models: Repository, store: Path) -> None:
    put(store, other_weights(2))
    models.refresh()
    shutil.rmtree(store / "lstm" / "2")
    models.refresh()
    back = models.serving("lstm")

    shutil.rmtree(store / "lstm")
    models.refresh()

    assert back == models.serving("lstm") == 1
    assert models.versions("lstm") == [1]
    assert models.load_newest() == {}


def test_only_so_many_versions_stay_in_memory_and_the_one_that_serves_is_among_them(
    models: Repository, store: Path
) -> None:
    models.want(models.wanted.changed("lstm", Wish(pinned=1)))
    for version in range(2, KEPT_VERSIONS + 3):
        put(store, other_weights(version))
        models.get("lstm", version)

    kept = [version for name, version in sorted(models.ready) if name == "lstm"]

    assert kept == [1, *range(4, KEPT_VERSIONS + 3)]
    assert models.get("lstm", 2).card.version == 2


def test_a_model_that_comes_later_is_not_missed_before_it_has_served(models: Repository, store: Path) -> None:
    (store / "rnn" / "1").mkdir(parents=True)
    models.refresh()
    meanwhile = models.load_newest()

    shutil.copytree(SHIPPED / "rnn" / "1", store / "rnn" / "1", dirs_exist_ok=True)
    models.refresh()

    assert meanwhile == {}
    assert models.serving("rnn") == 1


def test_what_is_ready_is_handed_out_while_another_model_loads(models: Repository) -> None:
    answered = threading.Event()

    def ask() -> None:
        models.get("lstm").run(ROWS)
        answered.set()

    with models._changing:  # as a load holds it
        asking = threading.Thread(target=ask)
        asking.start()

        assert answered.wait(10)
    asking.join()


def test_a_thread_that_must_not_wait_is_told_what_is_not_at_hand(models: Repository, store: Path) -> None:
    put(store, other_weights(2))
    models.never_wait_here()

    assert models.get("lstm").card.version == models.get("lstm", 1).card.version == 1
    for name, version in (("lstm", 2), ("gpt", None)):
        with pytest.raises(NotAtHand):
            models.get(name, version)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(models.get, "lstm", 2).result().card.version == 2


@pytest.mark.parametrize(("name", "version"), [("gpt", None), ("lstm", 9)])
def test_what_there_is_not_is_told(models: Repository, name: str, version: int | None) -> None:
    assert models.at_hand(name, version) is None
    for look in (models.get, models.prepare):
        with pytest.raises(UnknownModel):
            look(name, version)


class Failing:
    """Stands for the session of a GPU that is gone."""

    def run(self, _outputs: object, _inputs: object) -> None:
        raise RuntimeError("CUDA failure 719: unspecified launch failure")


def test_a_device_that_fails_in_a_run_is_given_up_and_the_model_made_ready_afresh(store: Path) -> None:
    models = Repository(store)
    lost = models.get("lstm")
    lost.provider, lost._session = CUDA, Failing()

    with pytest.raises(ProviderUnavailable, match="it failed while it ran: CUDA failure 719"):
        lost.run(ROWS)
    missing = models.load_newest()

    assert "it failed while it ran" in missing["lstm"]
    assert models.at_hand("lstm") is None
    assert models.refusals == {"lstm": 1}
    models.prepare("lstm", 1)
    assert models.get("lstm").provider == CPU
    assert models.get("lstm").run(ROWS).shape == (1, 9)


def test_what_fails_on_the_cpu_is_a_fault_of_ours_and_gives_nothing_up(store: Path) -> None:
    models = Repository(store)
    forecaster = models.get("lstm")
    session, forecaster._session = forecaster._session, Failing()

    with pytest.raises(RuntimeError, match="CUDA failure 719"):
        forecaster.run(ROWS)
    forecaster._session = session

    assert models.get("lstm") is forecaster
