"""
A bundle: one trained forecaster on disk, `model.onnx`, the same weights as `walk.onnx`, and `card.json`.

Of a recurrent network there is a third graph of these weights, `explain.onnx`: what it kept, added and showed each day.

The card says what the graph takes and gives, what it was trained on and how it scored; its digest and its golden
samples say whether the file beside it is still the one that was exported.
"""

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec

from models.errors import BundleError, UnknownModel
from models.weights import not_finite

MODEL_FILE, WALK_FILE, EXPLAIN_FILE, CARD_FILE = "model.onnx", "walk.onnx", "explain.onnx", "card.json"
MAX_MODEL_BYTES = 64 * 1024 * 1024
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
Network = Literal["lstm", "rnn", "mlp"]


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of the graph; a string in `shape` is a dynamic dimension."""

    name: str
    dtype: str
    shape: list[int | str]
    unit: str


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ragged closes and what PyTorch itself answered for them, one list of quantiles a row."""

    closes: list[list[float]]
    quantiles: list[list[float]]


class ByQuarter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Whether bands held over time, on one market.

    Attributes:
        quarters: As ``2020-Q1``, oldest first; those with too few forecasts to say anything are left out.
        forecasts: Of each of them, over all series.
        inside_percent: By forecaster, by band ("80", "90", "98"): of the closes of each quarter, how many fell inside.
    """

    quarters: list[str]
    forecasts: list[int]
    inside_percent: dict[str, dict[str, list[float]]]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    What a bundle is. Attributes not named by their name:

    Attributes:
        min_days: Fewest closes the graph can answer; for an MLP, its window.
        window_days: Closes that an MLP reads, the last of a longer history; None for recurrent networks.
        trained_days: Longest history seen in training, in days.
        parameters: Trained weights and biases.
        training: The training configuration, as it would be given again.
        data: Sources with their licences, first and last day of each span, series, content hash.
        packages: Versions of what trained it.
        scores: By market, by forecaster (this one and the baselines on the same days), then by measure.
        sha256: Of `model.onnx`.
        walk_sha256: Of `walk.onnx`, which forecasts every day of a history in one run; see `models.walk`.
        explain_sha256: Of `explain.onnx`; None where there is none, as for an MLP; see `models.gates`.
        coverage_by_quarter: By market, this forecaster's and GARCH's; none on cards from before it was measured.
    """

    name: str
    version: int
    network: Network
    summary: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    levels: list[float]
    min_days: int
    trained_days: int
    window_days: int | None
    parameters: int
    seed: int
    training: dict[str, Any]
    data: dict[str, Any]
    packages: dict[str, str]
    scores: dict[str, dict[str, dict[str, float]]]
    golden: Golden
    sha256: str
    walk_sha256: str
    explain_sha256: str | None = None
    coverage_by_quarter: dict[str, ByQuarter] = {}

    @property
    def digest(self) -> str:
        """The digest as answers name it."""
        return f"sha256:{self.sha256}"


class Bundle(msgspec.Struct, frozen=True):
    """A card and the verified bytes of the two graphs that forecast; `models.gates` reads the third when asked."""

    path: Path
    card: Card
    model: bytes
    walk: bytes


def read_card(path: Path) -> Card:
    """
    The card of the bundle in a folder.

    Raises:
        BundleError: It is missing or malformed.
    """
    content = _content(path / CARD_FILE)
    try:
        return msgspec.json.decode(content, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(path=path, reason=f"{CARD_FILE}: {error}") from error


def read_bundle(path: Path) -> Bundle:
    """
    The bundle in a folder, once its bytes are the ones that were exported.

    The bytes that were hashed are the bytes that are returned, so nothing can be swapped in between.

    Raises:
        BundleError: A file is missing, too large, truncated, changed, holds a number that is none, or reaches outside
            itself.
    """
    card = read_card(path)
    return Bundle(path, card, _verified(path / MODEL_FILE, card.sha256), read_walk(path, card))


def read_walk(path: Path, card: Card) -> bytes:
    """The bytes of the bundle's `walk.onnx`; errors as for `read_bundle`."""
    return _verified(path / WALK_FILE, card.walk_sha256)


def read_explain(path: Path, card: Card) -> bytes:
    """The bytes of the bundle's `explain.onnx`, which its card names; errors as for `read_bundle`."""
    return _verified(path / EXPLAIN_FILE, str(card.explain_sha256))


def _content(file: Path) -> bytes:
    """What is in a file of a bundle; waits for nobody, as reading a pipe would, and takes no more than there may be."""
    try:
        if file.exists() and not file.is_file():
            raise BundleError(path=file.parent, reason=f"{file.name} is no file")
        with file.open("rb") as opened:
            content = opened.read(MAX_MODEL_BYTES + 1)
    except OSError as error:
        raise BundleError(path=file.parent, reason=f"{file.name}: {error.strerror}") from error
    if len(content) > MAX_MODEL_BYTES:
        raise BundleError(path=file.parent, reason=f"{file.name} is larger than {MAX_MODEL_BYTES} bytes")
    return content


def _verified(file: Path, sha256: str) -> bytes:
    graph = _content(file)
    if (found := hashlib.sha256(graph).hexdigest()) != sha256:
        raise BundleError(path=file.parent, reason=f"{file.name} has sha256 {found}, its card says {sha256}")
    # A tensor kept in another file names it under the key "location", which protobuf stores as these bytes.
    if b"location" in graph:
        raise BundleError(path=file.parent, reason=f"{file.name} keeps data in another file")
    _check_numbers(file, graph)
    return graph


def _check_numbers(file: Path, graph: bytes) -> None:
    try:
        found = not_finite(graph)
    except (ValueError, RecursionError) as error:
        raise BundleError(path=file.parent, reason=f"{file.name} is no ONNX graph: {error}") from error
    if found:
        raise BundleError(path=file.parent, reason=f"{file.name} has a NaN or an infinity in {found[0]!r}")


def write_bundle(root: Path, card: Card, model: bytes, walk: bytes, explain: bytes | None = None) -> Path:
    """
    Put a new version under ``root/<name>/<version>``, whole or not at all.

    Args:
        root: Folder of the models.
        card: Of it.
        model: The graph that answers for the last day.
        walk: The graph that answers for every day.
        explain: The graph that tells what the network kept, added and showed, if it has a memory.

    Raises:
        FileExistsError: That version is there already; a bundle is never changed.
    """
    target = root / card.name / str(card.version)
    if target.exists():
        raise FileExistsError(f"{target} is there already, and a bundle is never changed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(model)
        (folder / WALK_FILE).write_bytes(walk)
        if explain is not None:
            (folder / EXPLAIN_FILE).write_bytes(explain)
        (folder / CARD_FILE).write_bytes(_card_bytes(card))
        folder.rename(target)
    return target


def replace_card(path: Path, card: Card) -> None:
    """
    Put a card that says more of the same graphs in the place of a bundle's, in one step.

    Raises:
        ValueError: It is another forecaster's.
    """
    before = read_card(path)
    told = ("name", "version", "sha256", "walk_sha256", "explain_sha256", "golden")
    if other := [field for field in told if getattr(card, field) != getattr(before, field)]:
        raise ValueError(f"the card of {path} and the one in its place differ in {', '.join(other)}")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as scratch:
        scratch.write(_card_bytes(card))
    scratched = Path(scratch.name)
    scratched.chmod((path / CARD_FILE).stat().st_mode)
    scratched.replace(path / CARD_FILE)


def _card_bytes(card: Card) -> bytes:
    return msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"


def next_version(root: Path, name: str) -> int:
    """The number that a new training of a model gets: one more than the newest."""
    return max(versions(root / name), default=0) + 1


def versions(folder: Path) -> list[int]:
    """Whole-numbered folders in a model's folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in folder.iterdir() if _VERSION.fullmatch(entry.name) and entry.is_dir())


def names(root: Path) -> list[str]:
    """The models of a store, in alphabetical order."""
    return sorted(folder.name for folder in root.iterdir() if versions(folder)) if root.is_dir() else []


def folder_of(root: Path, model: str) -> Path:
    """
    The folder of a model of a store.

    Args:
        root: Folder of the models.
        model: ``name`` for its newest version, or ``name:version``.

    Raises:
        UnknownModel: There is no such one.
    """
    name, _, version = model.partition(":")
    known = names(root)
    there = versions(root / name) if name in known else []
    if not there or (version and version not in map(str, there)):
        raise UnknownModel(name=name, version=int(version) if version.isdecimal() else None, known=known)
    return root / name / (version or str(there[-1]))
