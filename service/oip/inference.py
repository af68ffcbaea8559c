"""``POST /v2/models/{name}/infer``: decode, check, run, encode."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from models.bundle import Card
from models.errors import InvalidSeries, UnknownModel
from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.repository import Repository
from service.errors import InvalidInference, ModelNotFound, TooManyCloses
from service.exchange import Answer
from service.forecasts import AS_A_JOB
from service.oip.packing import packed, unpacked
from service.oip.requests import (
    LENGTH_HEADER,
    InferenceOutput,
    InferenceRequest,
    header_length,
    read_inference_request,
    shown,
    wants_binary,
)
from service.oip.tensors import DATATYPES, ragged, read_tensors
from service.work import Work
from worker.answers import encode
from worker.media_types import JSON
from worker.requests import TooManySeries

OCTETS = "application/octet-stream"
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one request may have.

    Attributes:
        bytes: Most bytes of a body, also as it unpacks.
        series: Most rows.
        closes: Most closes, the padding included.
    """

    bytes: int
    series: int
    closes: int


class Sent(NamedTuple):
    """
    What the headers of a request say of its body and of the answer's.

    Attributes:
        encoding: Content-Encoding, "" where there is none.
        json_bytes: Inference-Header-Content-Length, if there is one.
        accept_encoding: Accept-Encoding, "" where there is none.
    """

    encoding: str
    json_bytes: str | None
    accept_encoding: str


def find(models: Repository, name: str, version: str | None) -> Forecaster:
    """
    The forecaster of a model named in a path, made ready if need be.

    Raises:
        ModelNotFound: There is no such model or version.
        ModelError: It is not ready.
    """
    number = int(version) if version and _NUMBER.fullmatch(version) else None
    if (version is None or number) and (ready := models.at_hand(name, number)):
        return ready
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


def prepare(body: bytes, how: Sent, forecaster: Forecaster, limits: Limits) -> Work:
    """
    The rows of an inference request.

    Args:
        body: JSON, and behind it raw tensors; perhaps compressed.
        how: What its headers say of it.
        forecaster: The model.
        limits: What is taken.

    Raises:
        UnsupportedMediaType: It is compressed in a way that is not taken.
        InvalidEncoding: It does not unpack.
        UnpackedTooLarge: It unpacks to more than is taken.
        InvalidJson: The JSON is none.
        InvalidInference: The request is not as the protocol or the model's card has it.
        InvalidSeries: A row cannot be forecast.
        EmptyRequest: There is no row.
        NotOffered: It asks for something that is not offered.
        TooManySeries: It has more rows than are taken.
        TooManyCloses: It has more closes than are taken.
    """
    plain = unpacked(body, how.encoding, most=limits.bytes, hint=AS_A_JOB)
    header, binary = _split(plain, header_length(how.json_bytes))
    if (numbers := header.count(b",")) > limits.closes + limits.series + 1000:  # two tensors, and the request's own
        raise TooManyCloses(given=numbers, most=limits.closes)
    asked = read_inference_request(header)
    as_bytes = _outputs(asked, forecaster.card)
    rows = _rows(asked, binary, forecaster, limits)

    def finish(quantiles: Floats) -> Answer:
        return _encode(asked.id, quantiles, forecaster, as_bytes=as_bytes, accept_encoding=how.accept_encoding)

    return Work(forecaster, rows, finish)


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


def _encode(
    request_id: str | None, quantiles: Floats, forecaster: Forecaster, *, as_bytes: bool, accept_encoding: str
) -> Answer:
    """An answer with the quantiles, shape ``(B, Q)``, in float32's shortest digits or as its bytes."""
    card = forecaster.card
    (tensor,) = card.outputs
    output: dict[str, Any] = {
        "name": tensor.name,
        "datatype": DATATYPES[tensor.dtype],
        "shape": list(quantiles.shape),
    }
    ran = {"digest": card.digest, "execution_provider": forecaster.provider}
    answer: dict[str, Any] = {"model_name": card.name, "model_version": str(card.version), "parameters": ran}
    answer["outputs"] = [output]
    if request_id is not None:
        answer["id"] = request_id
    if as_bytes:
        output["parameters"] = {"binary_data_size": quantiles.nbytes}
        header = encode(answer)
        content = b"".join((header, quantiles.astype("<f4", copy=False).data))
        headers = [("content-type", OCTETS), (LENGTH_HEADER.lower(), str(len(header)))]
    else:
        output["data"] = quantiles.reshape(-1)
        content = encode(answer)
        headers = [("content-type", JSON)]
    content, encoding = packed(content, accept_encoding)
    headers.append(("vary", "Accept-Encoding"))
    if encoding:
        headers.append(("content-encoding", encoding))
    return Answer(200, headers, content)
