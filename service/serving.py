"""``/v1/models/{name}/serving``: which version of a model serves, and which one should."""

import msgspec
from flask import Blueprint, Response, request

from service.bodies import check_type, read_body
from service.lifecycle import Lifecycle
from worker.answers import encode
from worker.media_types import JSON
from worker.requests import Fault, InvalidJson, InvalidRequest

MAX_BYTES = 1000


class ServingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The version that is to serve; null follows the newest one that can be made ready."""

    version: int | None


def routes(lifecycle: Lifecycle) -> Blueprint:
    """The routes by which a version is chosen."""
    views = Blueprint("serving", __name__)

    @views.get("/v1/models/<name>/serving")
    def get_serving(name: str) -> Response:
        return Response(encode(lifecycle.state(name)), content_type=JSON)

    @views.put("/v1/models/<name>/serving")
    def put_serving(name: str) -> Response:
        check_type(request.headers.get("Content-Type", ""), request.headers.get("Content-Encoding", ""), (JSON,))
        asked = read_serving_request(read_body(request, most=MAX_BYTES))
        applied = lifecycle.serve(name, asked.version)
        return Response(encode(lifecycle.state(name) | {"applied": applied}), content_type=JSON)

    return views


def read_serving_request(body: bytes) -> ServingRequest:
    """
    What a request to choose a version asks for.

    Raises:
        InvalidJson: It is not JSON.
        InvalidRequest: It is not ``{"version": ...}``.
    """
    try:
        return msgspec.json.decode(body, type=ServingRequest)
    except msgspec.ValidationError as error:
        detail = f'the body is {{"version": 1}} or {{"version": null}}: {error}'
        raise InvalidRequest(faults=[Fault("/version", detail)]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidJson(reason=str(error)) from None
