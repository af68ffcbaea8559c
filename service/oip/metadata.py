"""What the protocol tells of the server, its models and its repository, from the models' cards."""

from importlib.metadata import version as version_of
from typing import Any

from models.bundle import Card, Tensor
from models.errors import UnknownModel
from models.repository import Repository
from service.errors import ModelNotFound, NotReady
from service.oip.inference import number_of
from service.oip.tensors import DATATYPES

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
"""What is offered in full."""
PLATFORM = "onnxruntime_onnx"


def check_ready(models: Repository, *, draining: bool) -> None:
    """
    Make the newest version of every model ready.

    Raises:
        NotReady: One is not, or there is none; or the server is about to end.
    """
    if draining:
        raise NotReady(missing=["the server is about to end"])
    if missing := models.load_newest():
        raise NotReady(missing=missing)


def server_metadata() -> dict[str, Any]:
    """Name, version, and the extensions that are offered in full."""
    return {"name": "nextday", "version": version_of("nextday"), "extensions": EXTENSIONS}


def model_metadata(models: Repository, name: str, version: str | None) -> dict[str, Any]:
    """
    A model's inputs and outputs, the batch dimension included; -1 is a dimension that varies.

    Raises:
        ModelNotFound: There is no such model or version.
        BundleError: Its card cannot be read.
    """
    card = card_of(models, name, version)
    return {
        "name": name,
        "versions": [str(number) for number in models.versions(name)] if version is None else [str(card.version)],
        "platform": PLATFORM,
        "inputs": [_tensor(tensor) for tensor in card.inputs],
        "outputs": [_tensor(tensor) for tensor in card.outputs],
        "parameters": _parameters(models, name, card),
    }


def model_config(models: Repository, name: str, version: str | None) -> dict[str, Any]:
    """
    A model's configuration in Triton's form; errors as for `model_metadata`.

    `max_batch_size` is 0, which says that `dims` are whole shapes: beside the batch, `lengths` has no dimension, and
    `dims` may not be empty. There is no `dynamic_batching`: a request's rows run with no one else's.
    """
    card = card_of(models, name, version)
    return {
        "name": name,
        "platform": PLATFORM,
        "max_batch_size": 0,
        "input": [_configured(tensor) for tensor in card.inputs],
        "output": [_configured(tensor) for tensor in card.outputs],
        "parameters": {key: {"string_value": value} for key, value in _parameters(models, name, card).items()},
    }


def repository_index(models: Repository, *, only_ready: bool) -> list[dict[str, str]]:
    """Every version of every model with its state in this process; those that should serve are made ready."""
    models.load_newest()
    entries = [entry for name in models.names() for entry in _entries(models, name)]
    return [entry for entry in entries if entry["state"] == "READY" or not only_ready]


def card_of(models: Repository, name: str, version: str | None) -> Card:
    """The card of a model named in a path; errors as for `model_metadata`."""
    try:
        return models.card(name, number_of(models, name, version))
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error


def _entries(models: Repository, name: str) -> list[dict[str, str]]:
    return [
        {"name": name, "version": str(each.version), "state": each.state, "reason": each.reason}
        for each in models.states(name)
    ]


def _parameters(models: Repository, name: str, card: Card) -> dict[str, str]:
    """What of a model is no matter of the protocol: its digest and, where it is ready, what runs it."""
    ready = models.at_hand(name, card.version)
    return {"digest": card.digest} | ({"execution_provider": ready.provider} if ready else {})


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": DATATYPES[tensor.dtype], "shape": _dims(tensor)}


def _configured(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{DATATYPES[tensor.dtype]}", "dims": _dims(tensor)}


def _dims(tensor: Tensor) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in tensor.shape]
