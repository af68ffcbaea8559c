"""``POST /v2/models/{name}/infer``: decode, check, run, encode."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from models.bundle import Card
from models.errors import InvalidSeries, UnknownModel
from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.repository import Repository
from service.errors import InvalidInference, ModelNotFound, TooManyCloses
from service.oip.requests import (
    LENGTH_HEADER,
    InferenceOutput,
    InferenceRequest,
    read_inference_request,
    shown,
    wants_binary,
)
from service.oip.tensors import DATATYPES, ragged, read_tensors
from service.stages import Served, Stages
from worker.answers import encode
from worker.requests import TooManySeries


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one request may have.

    Attributes:
        series: Most rows.
        closes: Most closes, the padding included.
    """

    series: int
    closes: int


class Inference(NamedTuple):
    """
    An answer.

    Attributes:
        content: JSON, and behind it the outputs that were asked for as bytes.
        json_bytes: Length of the JSON where bytes follow, else None.
    """

    content: bytes
    json_bytes: int | None


def find(models: Repository, name: str, version: str | None) -> Forecaster:
    """
    The forecaster of a model named in a path, made ready if need be.

    Raises:
        ModelNotFound: There is no such model or version.
        ModelError: It is not ready.
    """
    try:
        return models.get(name, number_of(models, name, version))
    except UnknownModel as error:
        raise ModelNotFound(str(error)) from error


def number_of(models: Repository, name: str, version: str | None) -> int | None:
    """The number of a version, a string in the protocol; None stays None. Errors as for `Repository.get`."""
    if version is None:
        return None
    known = {str(number): number for number in models.versions(name)}
    if version not in known:
        there = ", ".join(known)
        raise ModelNotFound(f"there is no version {shown(version)} of the model {name!r}; there are: {there}")
    return known[version]


def infer(body: bytes, json_bytes: int | None, forecaster: Forecaster, limits: Limits, stages: Stages) -> Inference:
    """
    The answer to an inference request.

    Args:
        body: JSON, and behind it raw tensors.
        json_bytes: How long the JSON is; None where it is all.
        forecaster: The model.
        limits: What is taken.
        stages: Where model, rows and times are noted.

    Raises:
        InvalidJson: The JSON is none.
        InvalidInference: The request is not as the protocol or the model's card has it.
        InvalidSeries: A row cannot be forecast.
        EmptyRequest: There is no row.
        NotOffered: It asks for something that is not offered.
        TooManySeries: It has more rows than are taken.
        TooManyCloses: It has more closes than are taken.
    """
    card = forecaster.card
    stages.served = Served(card.name, card.version, card.digest, forecaster.provider)
    header, binary = _split(body, json_bytes)
    if (numbers := header.count(b",")) > limits.closes + limits.series + 1000:  # two tensors, and the request's own
        raise TooManyCloses(given=numbers, most=limits.closes)
    asked = read_inference_request(header)
    as_bytes = _outputs(asked, card)
    rows = _rows(asked, binary, forecaster, limits)
    stages.rows = len(rows)
    stages.lap("decode")
    quantiles = forecaster.run(rows)
    stages.lap("run")
    answer = _encode(asked.id, quantiles, card, as_bytes=as_bytes)
    stages.lap("encode")
    return answer


def _split(body: bytes, json_bytes: int | None) -> tuple[bytes, memoryview]:
    """The JSON of a body and what lies behind it."""
    if json_bytes is None:
        return body, memoryview(b"")
    if json_bytes > len(body):
        raise InvalidInference(f"{LENGTH_HEADER} is {json_bytes}; the body has {len(body)} bytes")
    return body[:json_bytes], memoryview(body)[json_bytes:]


def _outputs(asked: InferenceRequest, card: Card) -> bool:
    """Whether the model's one output is to be answered as bytes; it is the answer also where none is named."""
    (known,) = [tensor.name for tensor in card.outputs]
    outputs = asked.outputs or [InferenceOutput(known)]
    for output in outputs:
        if output.name != known:
            raise InvalidInference(f"there is no output {shown(output.name)}; this model gives {known}")
    if len(outputs) > 1:
        raise InvalidInference(f"the output {known!r} is asked for {len(outputs)} times")
    return wants_binary(asked, outputs[0])


def _rows(asked: InferenceRequest, binary: memoryview, forecaster: Forecaster, limits: Limits) -> Ragged:
    """The rows of a request, every one of which can be forecast."""
    _check_size(asked, limits)
    tensors = read_tensors(asked.inputs, forecaster.card.inputs, binary)
    rows = ragged(tensors["closes"], tensors["lengths"])
    if found := forecaster.faults(rows):
        raise InvalidSeries(faults=found)
    return rows


def _check_size(asked: InferenceRequest, limits: Limits) -> None:
    """Refuse too much by the shapes alone, before a number is read."""
    for given in asked.inputs:
        if given.name == "closes" and len(given.shape) == 2:
            rows, days = given.shape
            if rows > limits.series:
                raise TooManySeries(given=rows, most=limits.series)
            if rows * days > limits.closes:
                raise TooManyCloses(given=rows * days, most=limits.closes)


def _encode(request_id: str | None, quantiles: Floats, card: Card, *, as_bytes: bool) -> Inference:
    """An answer with the quantiles, shape ``(B, Q)``, in float32's shortest digits or as its bytes."""
    (tensor,) = card.outputs
    output: dict[str, Any] = {
        "name": tensor.name,
        "datatype": DATATYPES[tensor.dtype],
        "shape": list(quantiles.shape),
    }
    answer: dict[str, Any] = {"model_name": card.name, "model_version": str(card.version), "outputs": [output]}
    if request_id is not None:
        answer["id"] = request_id
    if not as_bytes:
        output["data"] = quantiles.reshape(-1)
        return Inference(encode(answer), None)
    output["parameters"] = {"binary_data_size": quantiles.nbytes}
    header = encode(answer)
    return Inference(b"".join((header, quantiles.astype("<f4", copy=False).data)), len(header))
