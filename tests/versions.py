"""A store of models for tests that add versions to it: another version is the one that ships with other weights."""

import hashlib
import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx

from models.bundle import CARD_FILE, MODEL_FILE, WALK_FILE, Bundle, Card, Golden, read_bundle
from models.execution import open_session
from models.ragged import Floats, Ragged
from models.settings import ModelSettings

SHIPPED = ModelSettings().store


def store_of(folder: Path, *names: str) -> Path:
    """A store with the first version of some models."""
    for name in names:
        shutil.copytree(SHIPPED / name / "1", folder / name / "1")
    return folder


def other_weights(version: int, *, name: str = "lstm") -> Bundle:
    """A version whose quantiles are not those of the others, and whose card is right about it."""
    shipped = read_bundle(SHIPPED / name / "1")
    model, walk = (_moved(graph, 0.05 * (version - 1)) for graph in (shipped.model, shipped.walk))
    golden = Golden(shipped.card.golden.closes, _quantiles(model, shipped.card.golden.closes).tolist())
    digests = {"sha256": hashlib.sha256(model).hexdigest(), "walk_sha256": hashlib.sha256(walk).hexdigest()}
    card = msgspec.structs.replace(shipped.card, version=version, golden=golden, **digests)
    return Bundle(Path(name) / str(version), card, model, walk)


def put(store: Path, bundle: Bundle) -> Path:
    """Copy a bundle into a store as `cp -r` does, the card first, so that it is not whole until the end."""
    folder = store / bundle.path
    folder.mkdir(parents=True)
    write_card(folder, bundle.card)
    (folder / MODEL_FILE).write_bytes(bundle.model)
    (folder / WALK_FILE).write_bytes(bundle.walk)
    return folder


def write_card(folder: Path, card: Card) -> None:
    (folder / CARD_FILE).write_bytes(msgspec.json.encode(card))


def _moved(graph: bytes, by: float) -> bytes:
    """A graph with another bias in its head."""
    model = onnx.load_from_string(graph)
    bias = next(each for each in model.graph.initializer if each.name.endswith("head.linear.bias"))
    bias.raw_data = (onnx.numpy_helper.to_array(bias) + np.float32(by)).tobytes()
    return model.SerializeToString()


def _quantiles(graph: bytes, closes: list[list[float]]) -> Floats:
    session = open_session(graph, device="cpu")
    rows = Ragged.of(closes)
    padded, lengths = rows.padded(np.arange(len(rows)))
    return session.run(["quantiles"], {"closes": padded, "lengths": lengths})[0]
