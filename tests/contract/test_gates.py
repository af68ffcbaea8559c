"""What a network kept, added and showed: by the graph that ships, by PyTorch's cells, and by the forecast it made."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from models import data
from models.bundle import EXPLAIN_FILE, folder_of, read_bundle, read_card
from models.errors import BundleError, NothingToExplain
from models.execution import open_session
from models.export import to_onnx
from models.forecaster import Forecaster
from models.gates import OUTPUTS, Gates, means
from models.gates_graph import check, stepped, to_explain
from models.networks import FEATURES, HIDDEN, Recurrent, build, next_closes
from models.ragged import Doubles, Floats, Ragged
from models.reexport import network_of
from models.settings import ModelSettings
from tests.versions import write_card

STORE = ModelSettings().store
TOLERANCE = 1e-6
NAMES = ("lstm", "rnn")


@pytest.fixture(params=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return folder_of(STORE, request.param)


@pytest.fixture
def gates(path: Path) -> Gates:
    return Gates(path, read_card(path))


@pytest.fixture
def network(path: Path) -> Recurrent:
    network = network_of(read_bundle(path))
    assert isinstance(network, Recurrent)
    return network.eval()


@pytest.fixture(scope="module")
def closes() -> Doubles:
    """The last year of a real series."""
    return data.load("bokeh").panel.closes[0][-250:]


def told(graph: bytes, rows: list[Doubles]) -> dict[str, Floats]:
    session = open_session(graph, device="cpu")
    padded, lengths = Ragged.of(rows).padded(np.arange(len(rows)))
    names = [put.name for put in session.get_outputs()]
    return dict(zip(names, session.run(names, {"closes": padded, "lengths": lengths}), strict=True))


def by_cells(network: Recurrent, closes: Doubles) -> tuple[Floats, Floats]:
    """Hidden states and cells by PyTorch's own cell, stepped by hand; those of an RNN have no cell."""
    layer = network.layer
    cell = (nn.LSTMCell if isinstance(layer, nn.LSTM) else nn.RNNCell)(FEATURES, HIDDEN)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    hidden, inside = [torch.zeros(1, HIDDEN)], [torch.zeros(1, HIDDEN)]
    with torch.no_grad():
        for day in network.front(torch.tensor(closes[None], dtype=torch.float32))[0]:
            after = cell(day, (hidden[-1], inside[-1])) if isinstance(cell, nn.LSTMCell) else (cell(day, hidden[-1]),)
            hidden.append(after[0])
            inside.append(after[-1])
    return torch.cat(hidden[1:]).numpy(), torch.cat(inside[1:]).numpy()


def test_hidden_states_and_cells_are_those_of_pytorchs_cell_stepped_by_hand(
    gates: Gates, network: Recurrent, closes: Doubles
) -> None:
    hidden, cell = by_cells(network, closes)

    found = gates(closes)

    np.testing.assert_allclose(found["hidden"], hidden, atol=TOLERANCE)
    if "cell" in found:
        np.testing.assert_allclose(found["cell"], cell, atol=2 * TOLERANCE)  # up to some 3 in size


def test_gates_are_those_of_the_equations_stepped_by_hand(gates: Gates, network: Recurrent, closes: Doubles) -> None:
    wanted = stepped(network, closes.astype(np.float32))

    found = gates(closes)

    assert list(found) == list(wanted)
    for name, each in wanted.items():
        np.testing.assert_allclose(found[name], each, atol=2 * TOLERANCE if name == "cell" else TOLERANCE, err_msg=name)


def test_what_is_kept_and_added_is_the_cell_and_what_is_shown_of_it_the_hidden_state(closes: Doubles) -> None:
    path = folder_of(STORE, "lstm")

    found = Gates(path, read_card(path))(closes)

    before = np.vstack([np.zeros(HIDDEN), found["cell"][:-1]])
    kept, added = found["forget_gate"] * before, found["input_gate"] * found["candidate"]
    np.testing.assert_allclose(found["cell"], kept + added, atol=TOLERANCE)
    np.testing.assert_allclose(found["hidden"], found["output_gate"] * np.tanh(found["cell"]), atol=TOLERANCE)


def test_the_forecast_was_made_of_the_last_days_hidden_state(
    path: Path, gates: Gates, network: Recurrent, closes: Doubles
) -> None:
    forecast = Forecaster.load(path).predict(Ragged.of([closes]))

    hidden = torch.from_numpy(gates(closes)["hidden"][-1:])

    with torch.no_grad():
        features, usual, _ = network.front(torch.tensor(closes[None], dtype=torch.float32))
        returns = usual[-1] * network.head(torch.cat([hidden, features[-1]], 1))
        quantiles = next_closes(torch.tensor([[closes[-1]]], dtype=torch.float32), returns).numpy()
    np.testing.assert_allclose(quantiles, forecast, rtol=TOLERANCE)


@pytest.mark.parametrize(("bias", "share"), [(100.0, 1.0), (-100.0, 0.0)], ids=["keeps all", "forgets all"])
def test_a_forget_gate_of_one_keeps_all_and_of_zero_nothing(bias: float, share: float, closes: Doubles) -> None:
    torch.manual_seed(0)
    network = build("lstm")
    assert isinstance(network, Recurrent)
    with torch.no_grad():
        network.layer.bias_ih_l0[HIDDEN : 2 * HIDDEN] = bias  # PyTorch's order: input, forget, candidate, output
    graph = to_explain(network)
    assert graph

    found = {name: each[0] for name, each in told(graph, [closes]).items()}

    added = found["input_gate"] * found["candidate"]
    assert (found["forget_gate"] == share).all()
    np.testing.assert_allclose(found["cell"], np.cumsum(added, 0) if share else added, rtol=1e-4, atol=1e-5)


def test_a_row_of_a_batch_is_told_as_alone_and_its_padding_is_zero(path: Path, closes: Doubles) -> None:
    graph, rows = (path / EXPLAIN_FILE).read_bytes(), [closes, closes[-60:], closes[:2]]

    together = told(graph, rows)

    for row, each in enumerate(rows):
        alone = told(graph, [each])
        for name, days in together.items():
            np.testing.assert_allclose(days[row, : len(each) - 1], alone[name][0], atol=TOLERANCE)
            assert not days[row, len(each) - 1 :].any()


def test_no_day_is_told_by_what_came_after_it(gates: Gates, closes: Doubles) -> None:
    crashed = np.concatenate([closes[:200], closes[200:] / 2])

    calm, other = gates(closes), gates(crashed)

    for name, each in calm.items():
        np.testing.assert_allclose(other[name][:199], each[:199], atol=TOLERANCE)
        assert np.abs(other[name][199] - each[199]).max() > 0.01


def test_days_and_units_have_their_places(path: Path, gates: Gates) -> None:
    found = gates(np.array([100.0, 101.0, 99.0]))

    assert tuple(found) == OUTPUTS[read_card(path).network]
    assert {each.shape for each in found.values()} == {(2, HIDDEN)}
    assert {each.shape for each in means(found).values()} == {(2,)}
    assert means(found)["hidden"][1] == pytest.approx(found["hidden"][1].mean(), abs=1e-7)


def test_an_mlp_has_nothing_to_explain() -> None:
    path = folder_of(STORE, "mlp")

    with pytest.raises(NothingToExplain, match="is an MLP, which reads one window of days at once"):
        Gates(path, read_card(path))
    assert to_explain(build("mlp")) is None


def test_a_bundle_without_the_graph_says_so() -> None:
    path = STORE / "lstm" / "1"

    with pytest.raises(NothingToExplain, match=r"version 1 of 'lstm' was exported without explain\.onnx"):
        Gates(path, read_card(path))


def test_a_card_without_the_graph_is_written_as_it_was_before_there_was_one() -> None:
    written = (STORE / "lstm" / "1" / "card.json").read_bytes()

    card = read_card(STORE / "lstm" / "1")

    assert b"explain_sha256" not in written
    assert msgspec.json.decode(msgspec.json.encode(card)) == msgspec.json.decode(written)


def flip_a_bit(folder: Path) -> None:
    graph = bytearray((folder / EXPLAIN_FILE).read_bytes())
    graph[len(graph) // 2] ^= 1
    (folder / EXPLAIN_FILE).write_bytes(graph)


def take_it_away(folder: Path) -> None:
    (folder / EXPLAIN_FILE).unlink()


def put_the_forecasters_graph_in_its_place(folder: Path) -> None:
    """And a card that is right about its digest."""
    shutil.copy(folder / "model.onnx", folder / EXPLAIN_FILE)
    card = read_card(folder)
    write_card(folder, msgspec.structs.replace(card, explain_sha256=card.sha256))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (flip_a_bit, "has sha256"),
        (take_it_away, "No such file"),
        (put_the_forecasters_graph_in_its_place, r"gives \['quantiles'\]"),
    ],
)
def test_a_spoilt_graph_is_refused_to_those_who_ask_and_to_no_one_else(
    spoil: object, words: str, tmp_path: Path, closes: Doubles
) -> None:
    folder = shutil.copytree(folder_of(STORE, "lstm"), tmp_path / "lstm" / "2")
    assert callable(spoil)
    spoil(folder)

    forecaster = Forecaster.load(folder)

    assert len(forecaster.predict(Ragged.of([closes]))) == 1
    with pytest.raises(BundleError, match=words):
        forecaster.gates()


def test_the_graph_is_opened_once(path: Path) -> None:
    forecaster = Forecaster.load(path)

    assert forecaster.gates() is forecaster.gates()


def test_a_graph_of_other_weights_is_no_export(network: Recurrent, path: Path) -> None:
    other = build(read_card(path).network)
    assert isinstance(other, Recurrent)

    with pytest.raises(BundleError, match="gates and PyTorch differ by"):
        check((path / EXPLAIN_FILE).read_bytes(), other)


def test_what_forecasts_holds_nothing_of_it(network: Recurrent, path: Path) -> None:
    assert to_onnx(network) == (path / "model.onnx").read_bytes()
    assert [put.name for put in open_session(to_onnx(network), device="cpu").get_outputs()] == ["quantiles"]
