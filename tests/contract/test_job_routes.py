"""What callers can do with jobs by HTTP, over a real queue and worked off in this process."""

import csv
import gzip
import hashlib
import io
import json
import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.repository import Repository
from service.app import create_app
from service.keys import make
from service.schemas import JobAnswer, JobList, ProblemAnswer
from service.settings import ServiceSettings
from service.submissions import PARAMETERS
from tests.versions import SHIPPED
from worker.blobs import Blobs
from worker.chunks import Chunks
from worker.job_requests import JobOptions
from worker.media_types import ARROW_FILE, ARROW_STREAM, CSV, JSON, NDJSON, PARQUET
from worker.receivers import AllowedHosts
from worker.signing import Secrets
from worker.work import connect_ledger

A, KEY_A = make("a", ["jobs"])
B, KEY_B = make("b", ["jobs"])
OPERATOR, OPERATOR_KEY = make("operator", ["jobs", "admin"])
ROWS = [{"id": "KO", "closes": [62.38, 62.86, 63.24]}, {"id": "AAPL", "closes": [126.4, 125.7]}]
TABLE = pa.table({"id": ["KO", "AAPL"], "closes": [row["closes"] for row in ROWS], "sector": ["drinks", "phones"]})
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


@pytest.fixture
def settings(valkey_url: str, tmp_path: Path) -> ServiceSettings:
    url = valkey_url.removesuffix("/0") + "/3"
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    (tmp_path / "keys").write_text("".join(f"{key.line}\n" for key in (KEY_A, KEY_B, OPERATOR_KEY)))
    (tmp_path / "in").mkdir()
    return ServiceSettings(
        redis_url=url,
        jobs_url=str(tmp_path / "jobs"),
        state=tmp_path / "state",
        api_keys_file=tmp_path / "keys",
        input_prefixes=f"file://{tmp_path}/in/",
        webhook_hosts=AllowedHosts("hooks.example.com"),
        webhook_secret=Secrets("whsec_" + b64encode(b"k" * 32).decode()),
        access_log="off",
    )


@pytest.fixture
def client(settings: ServiceSettings, models: Repository) -> FlaskClient:
    found = create_app(settings, models=models).test_client()
    found.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {A}"
    return found


@pytest.fixture
def chunks(settings: ServiceSettings, models: Repository) -> Iterator[Chunks]:
    with closing(connect_ledger(settings)) as ledger:
        yield Chunks(settings, ledger, Blobs.of(settings.jobs_url), models)


def of(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def post(client: FlaskClient, body: bytes, media_type: str, query: str = "", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/v1/jobs{query}", data=body, content_type=media_type, headers=named)


def accepted(answer: TestResponse, status: int = 202) -> JobAnswer:
    assert answer.status_code == status, answer.text
    return msgspec.json.decode(answer.data, type=JobAnswer)


def refused(answer: TestResponse, status: int) -> ProblemAnswer:
    assert answer.status_code == status, answer.text
    return msgspec.json.decode(answer.data, type=ProblemAnswer)


def submit(client: FlaskClient, query: str = "", **headers: str) -> JobAnswer:
    return accepted(post(client, LINES, NDJSON, query, **headers))


def done(client: FlaskClient, chunks: Chunks, job: JobAnswer) -> JobAnswer:
    while chunks.work_once() != "nothing":
        pass
    return accepted(client.get(job.links.self_), 200)


def packed(kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == PARQUET:
        pq.write_table(TABLE, sink)
        return sink.getvalue()
    opened = pa.ipc.new_file if kind == ARROW_FILE else pa.ipc.new_stream
    with opened(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


UPLOADS = {
    NDJSON: LINES,
    CSV: b"id,closes\nKO,62.38 62.86 63.24\nAAPL,126.4 125.7\n",
    JSON: json.dumps({"series": ROWS}).encode(),
    **{kind: packed(kind) for kind in (PARQUET, ARROW_FILE, ARROW_STREAM)},
}


def test_each_media_type_gives_the_same_rows(client: FlaskClient, chunks: Chunks) -> None:
    jobs = {kind: done(client, chunks, accepted(post(client, body, kind))) for kind, body in UPLOADS.items()}

    results = {}
    for kind, job in jobs.items():
        with client.get(job.links.results) as answer:
            results[kind] = answer.data
    assert {job.source for job in jobs.values()} == set(UPLOADS)
    assert len(set(results.values())) == 1
    assert [json.loads(line)["id"] for line in results[NDJSON].splitlines()] == ["KO", "AAPL"]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "zstd"])
def test_an_upload_may_be_packed(client: FlaskClient, encoding: str) -> None:
    body = gzip.compress(LINES) if encoding != "zstd" else pa.Codec("zstd").compress(LINES, asbytes=True)

    job = accepted(post(client, body, NDJSON, Content_Encoding=encoding))

    assert job.counts.total == 2


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "identity"])
def test_of_other_packings_it_says_which_are_taken(client: FlaskClient, encoding: str) -> None:
    problem = refused(post(client, LINES, NDJSON, Content_Encoding=encoding), 415)

    assert "taken here: gzip, zstd, none" in problem.detail


@pytest.mark.parametrize("media_type", [NDJSON, JSON])
def test_a_body_that_is_not_what_its_digest_says_is_refused(client: FlaskClient, media_type: str) -> None:
    body = UPLOADS[media_type]
    right, wrong = (b64encode(hashlib.sha256(content).digest()).decode() for content in (body, b""))

    accepted(post(client, body, media_type, Content_Digest=f"sha-256=:{right}:"))

    problem = refused(post(client, body, media_type, Content_Digest=f"sha-256=:{wrong}:"), 422)
    assert problem.type == "/problems/digest-mismatch"


WISHES = {"model": "rnn", "version": 1, "levels": [0.05, 0.5], "join": ["sector"], "expires_in_h": 2}
QUERY = "?model=rnn&version=1&levels=0.05,0.5&join=sector&expires_in_h=2&webhook=https://hooks.example.com/a"


def as_document(_: ServiceSettings) -> tuple[bytes, str, str]:
    series = [{**row, "sector": "drinks"} for row in ROWS]
    document = {**WISHES, "webhook": "https://hooks.example.com/a", "series": series}
    return json.dumps(document).encode(), JSON, ""


def as_table(_: ServiceSettings) -> tuple[bytes, str, str]:
    return UPLOADS[PARQUET], PARQUET, QUERY


def as_reference(settings: ServiceSettings) -> tuple[bytes, str, str]:
    folder = Path(settings.jobs_url).parent / "in"
    (folder / "prices.parquet").write_bytes(UPLOADS[PARQUET])
    given = {"uri": f"file://{folder}/prices.parquet"}
    return json.dumps({**WISHES, "webhook": "https://hooks.example.com/a", "input": given}).encode(), JSON, ""


@pytest.mark.parametrize("how", [as_document, as_table, as_reference])
def test_wishes_stand_in_the_query_of_a_table_and_in_a_body_of_json(
    client: FlaskClient, settings: ServiceSettings, how: Any
) -> None:
    job = accepted(post(client, *how(settings)))

    assert (job.model.name, job.model.version, job.levels, job.joined) == ("rnn", 1, [0.05, 0.5], ["sector"])
    assert job.webhook
    assert (job.webhook.url, job.webhook.state) == ("https://hooks.example.com/a", "")
    assert datetime.fromisoformat(job.expires_at) - datetime.fromisoformat(job.created_at) == timedelta(hours=2)


def test_a_joined_column_comes_back_in_every_format(client: FlaskClient, chunks: Chunks) -> None:
    job = done(client, chunks, accepted(post(client, UPLOADS[PARQUET], PARQUET, "?join=sector")))

    def got(suffix: str) -> bytes:
        with client.get(f"{job.links.results}?format={suffix}") as answer:
            return answer.data

    assert [json.loads(line)["joined"] for line in got("ndjson").splitlines()] == [
        {"sector": "drinks"},
        {"sector": "phones"},
    ]
    assert [row["sector"] for row in csv.DictReader(io.StringIO(got("csv").decode()))] == ["drinks", "phones"]
    tables = [pq.read_table(io.BytesIO(got("parquet"))), pa.ipc.open_file(got("arrow")).read_all(),
              pa.ipc.open_stream(got("arrows")).read_all()]  # fmt: skip
    assert {tuple(table["sector"].to_pylist()) for table in tables} == {("drinks", "phones")}


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"input": {"uri": "file:///etc/passwd"}}, 422, None),
        ({"input": {"uri": "file:///etc/passwd"}, "series": ROWS}, 422, "/input"),
        ({"input": "file:///etc/passwd"}, 422, "/input"),
        ({"input": {"uri": "x", "type": "csv"}}, 422, "/input"),
        ({"input": {"uri": "x"}, "modle": "lstm"}, 422, "/modle"),
        ({"input": {"uri": "x"}, "horizon": 2}, 422, "/horizon"),
        ({"input": {"uri": "x"}, "explain": True}, 422, "/explain"),
        ({"input": {"uri": "x"}, "expires_in_h": 0}, 422, "/expires_in_h"),
        ({"series": ROWS, "join": "sector"}, 422, "/join"),
        ({"series": ROWS, "webhook": 1}, 422, "/webhook"),
        ({"series": ROWS, "webhook": "https://elsewhere.example.com/"}, 422, None),
        ({"series": ROWS, "join": ["sector", "sector"]}, 422, None),
        ({"series": ROWS, "join": ["sector"]}, 422, None),
        *(
            ({"series": [{**ROWS[0], name: "x"}], "join": [name]}, 422, None)
            for name in ("id", "closes", "as_of", "a\x03", 'a"', "a\\", "\ud8bd", "\0")
        ),
        ({"series": ROWS, "webhook": "https://hooks.example.com/\ud8bd\x03"}, 422, None),
        ({"input": {"uri": "file:///\ud8bd\0"}}, 422, None),
        ({"input": {"uri": "file:///a", "media_type": "\ud8bd"}}, 422, None),
    ],
)
def test_json_that_is_not_so_is_refused_with_its_place(
    client: FlaskClient, body: dict[str, Any], status: int, pointer: str | None
) -> None:
    problem = refused(post(client, json.dumps(body).encode(), JSON), status)

    assert pointer is None or pointer in [place.pointer for place in problem.errors or ()]


def test_a_referenced_file_of_json_says_itself_what_it_is_forecast_with(
    client: FlaskClient, settings: ServiceSettings
) -> None:
    folder = Path(settings.jobs_url).parent / "in"
    (folder / "jobs.json").write_bytes(json.dumps({"series": ROWS, "model": "rnn"}).encode())
    given = {"uri": f"file://{folder}/jobs.json"}

    taken = accepted(post(client, json.dumps({"input": given}).encode(), JSON))
    contradicted = post(client, json.dumps({"input": given, "model": "mlp"}).encode(), JSON)

    assert (taken.model.name, taken.source) == ("rnn", given["uri"])
    assert "a JSON document says itself" in refused(contradicted, 422).detail


@pytest.mark.parametrize(
    "query",
    ["?join=", "?join=a,", "?join=a&join=b", "?webhook=", "?expires_in_h=0", "?expires_in_h=-1", "?expires_in_h=inf",
     "?expires_in_h=nan", "?expires_in_h=1,2", "?expires_in_h=x", "?model="],
)  # fmt: skip
def test_a_parameter_that_is_not_so_is_named(client: FlaskClient, query: str) -> None:
    problem = refused(post(client, LINES, NDJSON, query), 422)

    assert [place.parameter for place in problem.errors or ()] == [query[1:].partition("=")[0]]


def test_a_key_is_known_by_what_came_with_it(client: FlaskClient) -> None:
    first = submit(client, Idempotency_Key="k")

    assert submit(client, Idempotency_Key="k").id == first.id
    for query in ("?join=sector", "?expires_in_h=1", "?webhook=https://hooks.example.com/a"):
        body = LINES.replace(b"}", b', "sector": "x"}') if "join" in query else LINES
        assert refused(post(client, body, NDJSON, query, Idempotency_Key="k"), 422).type.endswith("conflict")


def test_pages_go_from_the_newest_to_the_oldest_and_end(client: FlaskClient) -> None:
    made = [submit(client).id for _ in range(5)]

    found, path, pages = [], "/v1/jobs?limit=2", 0
    while path:
        answer = client.get(path)
        page = msgspec.json.decode(answer.data, type=JobList)
        found += [job.id for job in page.jobs]
        pages += 1
        link = answer.headers.get("Link", "")
        assert (f"after={page.next}&" in f"{link}&".replace(">", "&")) if page.next else not link
        path = link.partition(">")[0].removeprefix("<")

    assert found == made[::-1]
    assert pages == 3


def test_a_list_is_of_some_statuses_and_of_one_model(client: FlaskClient) -> None:
    waiting, cancelled, other = submit(client), submit(client), submit(client, "?model=rnn")
    client.post(f"{cancelled.links.self_}/cancel")

    def listed(query: str) -> set[str]:
        return {job.id for job in msgspec.json.decode(client.get(f"/v1/jobs?{query}").data, type=JobList).jobs}

    assert listed("status=queued") == {waiting.id, other.id}
    assert listed("status=queued,cancelled&model=lstm") == {waiting.id, cancelled.id}
    assert listed("status=queued&status=cancelled") == {waiting.id, cancelled.id, other.id}
    assert listed("model=mlp") == set()
    answer = client.get("/v1/jobs?status=queued,cancelled&model=lstm&limit=1")
    assert "&status=queued,cancelled&model=lstm>" in answer.headers["Link"]


@pytest.mark.parametrize(
    ("query", "slug"),
    [("status=done", "invalid-parameter"), ("status=", "invalid-parameter"), ("after=", "invalid-parameter"),
     ("after=x", "invalid-cursor"), ("after=MSBi&after=MSBi", "invalid-parameter"), ("owner=a", "invalid-parameter")],
)  # fmt: skip
def test_a_page_that_is_none_is_refused(client: FlaskClient, query: str, slug: str) -> None:
    assert refused(client.get(f"/v1/jobs?{query}"), 422).type == f"/problems/{slug}"


def test_a_job_is_cancelled_resumed_and_deleted_when_it_has_ended(client: FlaskClient, chunks: Chunks) -> None:
    job = submit(client)

    assert refused(client.delete(job.links.self_), 409).type == "/problems/job-state-conflict"
    cancelled = accepted(client.post(f"{job.links.self_}/cancel"), 200)
    resumed = accepted(client.post(f"{job.links.self_}/resume"), 200)
    completed = done(client, chunks, job)
    assert refused(client.post(f"{job.links.self_}/resume"), 409).type == "/problems/job-state-conflict"

    assert (cancelled.status, resumed.status, completed.status) == ("cancelled", "queued", "completed")
    assert completed.rows_per_second
    assert completed.finalizing_at
    gone = client.delete(job.links.self_)
    assert (gone.status_code, gone.data) == (204, b"")
    for answer in (client.get(job.links.self_), client.delete(job.links.self_), client.get(job.links.results)):
        assert refused(answer, 404).type == "/problems/job-not-found"


def test_what_has_expired_is_told_and_its_results_are_gone(
    client: FlaskClient, chunks: Chunks, settings: ServiceSettings
) -> None:
    job = done(client, chunks, submit(client))
    with redis.Redis.from_url(settings.redis_url) as connection, closing(connect_ledger(settings)) as ledger:
        connection.zadd("nextday:expiry", {job.id: 1})
        assert ledger.expired() == [(job.id, False)]
        ledger.bury(job.id, for_s=60)

    assert accepted(client.get(job.links.self_), 200).status == "expired"
    assert refused(client.get(job.links.results), 410).type == "/problems/job-expired"


def test_an_owner_is_a_key_and_an_operator_sees_all(client: FlaskClient) -> None:
    job = submit(client, Idempotency_Key="k")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {B}"

    other = submit(client, Idempotency_Key="k")
    cursor = client.get("/v1/jobs?limit=1", headers=of(A)).json["next"]
    listed = [each["id"] for each in client.get(f"/v1/jobs?after={cursor}").json["jobs"]] if cursor else []

    assert other.id != job.id
    assert job.id not in listed
    assert [each["id"] for each in client.get("/v1/jobs").json["jobs"]] == [other.id]
    assert refused(client.post(f"{job.links.self_}/resume"), 404).type == "/problems/job-not-found"
    everything = client.get("/v1/jobs", headers=of(OPERATOR)).json["jobs"]
    assert {each["id"] for each in everything} == {job.id, other.id}
    assert accepted(client.post(f"{job.links.self_}/cancel", headers=of(OPERATOR)), 200).status == "cancelled"


def test_a_queue_that_is_nearly_full_lets_no_job_in_before_the_upload_is_read(
    client: FlaskClient, settings: ServiceSettings
) -> None:
    with redis.Redis.from_url(settings.redis_url) as connection:
        used_bytes = connection.info("memory")["used_memory"]
        connection.config_set("maxmemory", int(used_bytes * 1.1))
        try:
            answer = post(client, b"this is not read", NDJSON)
            found = client.get("/metrics").text
        finally:
            connection.config_set("maxmemory", 0)

    assert refused(answer, 503).type == "/problems/queue-full"
    assert int(answer.headers["Retry-After"]) > 0
    (limit_bytes,) = re.findall(r"^nextday_queue_memory_limit_bytes (\S+)", found, re.MULTILINE)
    assert float(limit_bytes) == int(used_bytes * 1.1)
    assert "nextday_queue_memory_limit_bytes " not in client.get("/metrics").text
    submit(client)


def test_every_wish_has_its_parameter() -> None:
    assert set(PARAMETERS) == set(JobOptions.__struct_fields__) - {"horizon", "explain"}


def test_a_document_s_model_is_its_own_where_there_is_no_default_one(settings: ServiceSettings, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "rnn" / "2", tmp_path / "store" / "mine" / "1")
    card = json.loads((tmp_path / "store" / "mine" / "1" / "card.json").read_text()) | {"name": "mine", "version": 1}
    (tmp_path / "store" / "mine" / "1" / "card.json").write_text(json.dumps(card))
    client = create_app(settings, models=Repository(tmp_path / "store")).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {A}"

    answer = post(client, json.dumps({"series": ROWS, "model": "mine"}).encode(), JSON)

    assert (answer.status_code, answer.json["model"]["name"]) == (202, "mine")
