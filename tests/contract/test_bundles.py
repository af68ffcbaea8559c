"""Every bundle that ships passes the same checks; every way to spoil one is refused."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from models.baselines import BASELINES, GARCH
from models.bundle import Card, next_version, read_bundle, versions, write_bundle
from models.errors import BundleError
from models.execution import open_session
from models.forecaster import Forecaster
from models.packaged import MARKETS
from models.ragged import Ragged
from models.repository import Repository
from models.settings import ModelSettings
from tests.versions import other_weights

STORE = ModelSettings().store
BUNDLES = [STORE / name / str(versions(STORE / name)[-1]) for name in ("lstm", "rnn", "mlp")]
NAMES = [path.parent.name for path in BUNDLES]
WANTED = {"lstm": {"RNN": 1, "LSTM": 1}, "rnn": {"RNN": 2}, "mlp": {"RNN": 1}}


@pytest.fixture(params=BUNDLES, ids=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLES[0], tmp_path / "lstm" / BUNDLES[0].name))


def recorded(path: Path, model: bytes, **changes: object) -> None:
    """Write a model with a card that agrees with it, but for what is changed."""
    card = read_bundle(BUNDLES[0]).card
    digest = {"sha256": hashlib.sha256(model).hexdigest()}
    (path / "model.onnx").write_bytes(model)
    (path / "card.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(card, **(digest | changes))))


def test_it_is_verified_and_ready(path: Path) -> None:
    forecaster = Forecaster.load(path)

    assert forecaster.card.name == path.parent.name
    assert forecaster.card.levels == [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99]


def test_it_has_one_recurrent_operator_a_layer_and_one_for_the_averages(path: Path) -> None:
    graph = onnx.load_from_string(read_bundle(path).model).graph
    operators = Counter(node.op_type for node in graph.node)

    assert {name: operators[name] for name in ("RNN", "LSTM", "GRU", "Loop", "Scan") if operators[name]} == WANTED[
        path.parent.name
    ]


def test_batch_and_time_are_dynamic_and_the_card_says_so(path: Path) -> None:
    bundle = read_bundle(path)
    graph = onnx.load_from_string(bundle.model).graph
    shapes = {
        put.name: [dim.dim_param or dim.dim_value for dim in put.type.tensor_type.shape.dim]
        for put in (*graph.input, *graph.output)
    }

    assert shapes == {tensor.name: tensor.shape for tensor in (*bundle.card.inputs, *bundle.card.outputs)}
    assert shapes["closes"] == ["batch", "time"]


def test_a_row_is_the_same_whatever_its_padding_and_its_batch(path: Path) -> None:
    bundle, rng = read_bundle(path), np.random.default_rng(0)
    session = open_session(bundle.model, device="cpu")
    tolerance = 1e-6 if path.parent.name == "rnn" else 0.0
    for padding in (np.nan, 0, -1, np.inf, 1e30):
        lengths = rng.integers(bundle.card.min_days, 400, rng.integers(2, 40))
        closes = np.exp(np.cumsum(rng.normal(0, 0.02, (len(lengths), 420)), 1)).astype(np.float32)
        closes[np.arange(420) >= lengths[:, None]] = padding

        together = session.run(None, {"closes": closes, "lengths": lengths})[0]

        for row, days in enumerate(lengths.tolist()):
            alone = session.run(None, {"closes": closes[row : row + 1, :days], "lengths": lengths[row : row + 1]})[0]
            assert np.allclose(together[row], alone[0], rtol=tolerance, atol=0)


def test_its_golden_samples_are_ragged_and_cover_the_shortest_and_a_long_row(path: Path) -> None:
    card = read_bundle(path).card
    lengths = [len(closes) for closes in card.golden.closes]

    assert min(lengths) == card.min_days
    assert max(lengths) >= 1000


def test_its_card_has_its_scores_beside_the_baselines_on_the_same_days(path: Path) -> None:
    card = read_bundle(path).card

    assert set(card.scores) == set(MARKETS)
    for scores in card.scores.values():
        assert set(scores) == {card.name, *BASELINES}
        assert len({row["forecasts"] for row in scores.values()}) == 1
        assert scores[GARCH]["vs_garch_percent"] == 0


def test_its_card_says_what_it_was_trained_on(path: Path) -> None:
    data = read_bundle(path).card.data

    assert data["train"][1] < data["validation"][0] <= data["validation"][1] < data["test"][0]
    assert len(data["sha256"]) == 64
    assert all(source["source"] and source["licence"] for source in data["sources"])


def test_all_that_ships_is_small() -> None:
    """Two versions of three models: 950 kB, and 100 kB more for what tells of the memories of the newer ones."""
    assert sum(file.stat().st_size for file in STORE.rglob("*") if file.is_file()) < 1_100_000


def flip_a_bit(path: Path) -> None:
    model = bytearray((path / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (path / "model.onnx").write_bytes(model)


def truncate(path: Path) -> None:
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes()[:-100])


def swap_the_model(path: Path) -> None:
    shutil.copy(BUNDLES[1] / "model.onnx", path / "model.onnx")


def lose_the_model(path: Path) -> None:
    (path / "model.onnx").unlink()


def lose_the_card(path: Path) -> None:
    (path / "card.json").unlink()


def break_the_card(path: Path) -> None:
    (path / "card.json").write_text("{")


def add_to_the_card(path: Path) -> None:
    card = (path / "card.json").read_text()
    (path / "card.json").write_text(card.replace("{", '{"surprise": 1,', 1))


def keep_data_elsewhere(path: Path) -> None:
    model = onnx.load_from_string((path / "model.onnx").read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../passwd")
    recorded(path, model.SerializeToString())


def lose_a_weight(path: Path) -> None:
    """NaN in a column that no golden sample shows: the card is right about it, and onnxruntime hides it."""
    model = onnx.load_from_string((path / "model.onnx").read_bytes())
    weights = next(each for each in model.graph.initializer if list(each.dims) == [1, 192, 48])
    spoilt = onnx.numpy_helper.to_array(weights).copy()
    spoilt[0, 0, 0] = np.nan
    weights.raw_data = spoilt.tobytes()
    recorded(path, model.SerializeToString())


def swap_the_walk(path: Path) -> None:
    shutil.copy(BUNDLES[1] / "walk.onnx", path / "walk.onnx")


def take_another_walk(path: Path) -> None:
    """The walk of another version, and a card that is right about its digest."""
    walk = other_weights(2).walk
    (path / "walk.onnx").write_bytes(walk)
    recorded(path, (path / "model.onnx").read_bytes(), walk_sha256=hashlib.sha256(walk).hexdigest())


def name_another_datatype(path: Path) -> None:
    card = read_bundle(path).card
    changed = msgspec.structs.replace(card.inputs[1], dtype="float32")
    recorded(path, (path / "model.onnx").read_bytes(), inputs=[card.inputs[0], changed])


def name_an_output_of_other_dimensions(path: Path) -> None:
    card = read_bundle(path).card
    changed = msgspec.structs.replace(card.outputs[0], shape=["batch"])
    recorded(path, (path / "model.onnx").read_bytes(), outputs=[changed])


def shuffle_the_levels(path: Path) -> None:
    recorded(path, (path / "model.onnx").read_bytes(), levels=read_bundle(path).card.levels[::-1])


def lose_a_level(path: Path) -> None:
    recorded(path, (path / "model.onnx").read_bytes(), levels=read_bundle(path).card.levels[:-1])


def put_a_pipe_in_place_of_the_model(path: Path) -> None:
    (path / "model.onnx").unlink()
    os.mkfifo(path / "model.onnx")


def nest_the_card_too_deeply(path: Path) -> None:
    (path / "card.json").write_text('{"data":' * 100_000)


def change_a_weight(path: Path) -> None:
    model = onnx.load_from_string((path / "model.onnx").read_bytes())
    weights = next(each for each in model.graph.initializer if list(each.dims) == [10])
    weights.raw_data = (onnx.numpy_helper.to_array(weights) + np.float32(0.05)).tobytes()
    recorded(path, model.SerializeToString())


def change_a_golden_quantile(path: Path) -> None:
    golden = read_bundle(path).card.golden
    golden.quantiles[0][4] *= 1.0001
    recorded(path, (path / "model.onnx").read_bytes(), golden=golden)


def drop_a_golden_quantile(path: Path) -> None:
    golden = read_bundle(path).card.golden
    for row in golden.quantiles:
        row.pop()
    recorded(path, (path / "model.onnx").read_bytes(), golden=golden)


def rename_an_input(path: Path) -> None:
    card = read_bundle(path).card
    renamed = msgspec.structs.replace(card.inputs[0], name="prices")
    recorded(path, (path / "model.onnx").read_bytes(), inputs=[renamed, card.inputs[1]])


def give_no_graph(path: Path) -> None:
    recorded(path, b"not a graph")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (flip_a_bit, "its card says"),
        (truncate, "its card says"),
        (swap_the_model, "its card says"),
        (lose_the_model, "model.onnx"),
        (lose_the_card, "card.json"),
        (break_the_card, "card.json"),
        (add_to_the_card, "surprise"),
        (keep_data_elsewhere, "keeps data in another file"),
        (lose_a_weight, "model.onnx has a NaN or an infinity in 'onnx::LSTM"),
        (swap_the_walk, "walk.onnx has sha256"),
        (take_another_walk, "walked, its golden samples come out"),
        (name_another_datatype, "its card takes"),
        (name_an_output_of_other_dimensions, "its card gives"),
        (shuffle_the_levels, "its card has the levels"),
        (lose_a_level, "its card has the levels"),
        (put_a_pipe_in_place_of_the_model, "model.onnx is no file"),
        (nest_the_card_too_deeply, "card.json"),
        (change_a_weight, "golden samples come out"),
        (change_a_golden_quantile, "golden samples come out"),
        (drop_a_golden_quantile, "golden samples have shape"),
        (rename_an_input, "a forecaster takes"),
        (give_no_graph, "is no ONNX graph"),
    ],
)
def test_a_bundle_that_is_not_what_its_card_says_is_refused(
    spoilt: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    spoil(spoilt)

    with pytest.raises(BundleError, match=reason) as refusal:
        Forecaster.load(spoilt)

    assert str(spoilt.parents[2]) not in refusal.value.reason


def test_a_spoilt_model_is_told_and_the_others_serve(spoilt: Path) -> None:
    shutil.copytree(BUNDLES[2], spoilt.parents[1] / "mlp" / BUNDLES[2].name)
    flip_a_bit(spoilt)
    repository = Repository(spoilt.parents[1])

    missing = repository.load_newest()

    assert list(missing) == ["lstm"]
    assert repository.get("mlp").predict(Ragged.of([[1.0] * 60])).shape == (1, 9)


def test_a_bundle_is_never_changed_and_the_next_one_gets_the_next_number(tmp_path: Path) -> None:
    bundle = read_bundle(BUNDLES[0])
    card: Card = msgspec.structs.replace(bundle.card, version=next_version(tmp_path, "lstm"))
    write_bundle(tmp_path, card, bundle.model, b"walk")

    with pytest.raises(FileExistsError, match="never changed"):
        write_bundle(tmp_path, card, bundle.model, b"walk")
    assert next_version(tmp_path, "lstm") == 2
    assert [entry.name for entry in (tmp_path / "lstm").iterdir()] == ["1"]
