"""What schemathesis cannot know of bodies by their schema: tables that are nearly right, and tensors that agree."""

import io
import json
import os
import random
import struct
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import schemathesis
from hypothesis import strategies as st
from schemathesis.core import NOT_SET

from service.oip import OCTETS
from service.oip.requests import LENGTH_HEADER
from service.oip.schemas import InferenceBody
from service.openapi import COLUMNAR, EXAMPLES
from tests.integration.schemathesis_names import CANCELLED, SPARE
from worker.media_types import ARROW_FILE, CSV, JSON, NDJSON, PARQUET

TENSORS = {
    "inputs": [
        {"name": "closes", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        {"name": "lengths", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
    ],
    "parameters": {"binary_data_output": True},
}
HEADER = json.dumps(TENSORS).encode()
RIGHT = struct.pack("<ffq", 101.5, 102.25, 2)
CLOSES = [101.5, 102.25, 1, 1e30, 1e-30, 0, -1, 1e300, "", "x", "nan", None, True]
IDS = ["KO", "AAPL", "=1+1", "é", '"', "a,b", "", " ", "\x00", "\u2028", "x" * 201]

TABLE = pa.table({"id": ["KO", "AAPL"], "closes": [[62.38, 62.86, 63.24], [1.5, -1.0]]})
WISHES = ("join", "webhook")
"""What no job can have here: nobody knows which columns there are, and no webhook is allowed."""

schemathesis.openapi.media_type(OCTETS, (st.just(RIGHT) | st.binary(max_size=17)).map(HEADER.__add__))


def packed(media_type: str) -> bytes:
    """A table that is right."""
    sink = io.BytesIO()
    if media_type == PARQUET:
        pq.write_table(TABLE, sink)
        return sink.getvalue()
    opened = pa.ipc.new_file if media_type == ARROW_FILE else pa.ipc.new_stream
    with opened(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


for each in COLUMNAR:
    schemathesis.openapi.media_type(each, st.just(packed(each)) | st.binary(max_size=64))


@schemathesis.serializer(NDJSON, CSV)
def as_it_is(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """Leave out bodies of text that are no text: on their way they are."""
    return case.media_type not in (NDJSON, CSV) or isinstance(case.body, str) or case.body is NOT_SET


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: dict[str, Any]) -> None:
    """In place of any text some table, in place of any tensors two that agree, where a request is meant to be right."""
    if case.path.endswith("/unload") and case.path_parameters.get("name") in ("lstm", "rnn", "mlp"):
        case.path_parameters["name"] = SPARE
    if case.path.endswith("/resume"):
        case.path_parameters["job_id"] = os.environ[CANCELLED]
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    if case.media_type in (NDJSON, CSV) and case.body not in EXAMPLES.values():
        case.body = table(case.media_type, random.Random(str(case.body)))
    if case.path == "/v1/jobs" and case.method == "POST":
        wish_for_what_there_is(case)
    if case.path.endswith("/infer") and isinstance(case.body, dict):
        case.body = {**case.body, "inputs": EXAMPLES[JSON, InferenceBody]["inputs"]}
        case.headers.pop(LENGTH_HEADER, None)
    elif case.path.endswith("/infer"):
        case.headers[LENGTH_HEADER] = str(len(HEADER))


def wish_for_what_there_is(case: schemathesis.Case) -> None:
    """A submission without what cannot be here, and of a body as it is."""
    for name in ("Content-Encoding", "Content-Digest"):
        case.headers.pop(name, None)
    for name in WISHES:
        case.query.pop(name, None)
    if case.media_type == JSON:
        case.query = {}  # the body says it all
        case.body = {name: value for name, value in case.body.items() if name not in WISHES}


def table(media_type: str, rng: random.Random) -> str:
    """Some series, of which some closes and ids may be wrong."""
    series = [(rng.choice(IDS), rng.choices(CLOSES, k=rng.randint(0, 4))) for _ in range(rng.randint(1, 4))]
    if media_type == NDJSON:
        return "\n".join(json.dumps({"id": name, "closes": closes}) for name, closes in series)
    if rng.random() < 0.5:
        return "\n".join(["id,closes", *(f"{name},{' '.join(map(str, closes))}" for name, closes in series)])
    days = [f"{name},2022-12-{10 + day},{close}" for name, closes in series for day, close in enumerate(closes)]
    return "\n".join(["id,date,close", *days])
