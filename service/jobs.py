"""``/v1/jobs``: submit, look, cancel, resume, read, delete."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, g, request

from models.repository import Repository
from service import query, submissions
from service.admission import ADMIN, LOCAL, Caller
from service.downloads import FORMATS, send, wanted_format
from service.errors import InvalidParameter
from service.settings import ServiceSettings
from worker.answers import encode
from worker.jobs import Jobs
from worker.ledger import STATUSES, Status
from worker.media_types import JSON
from worker.views import Job

MAX_LISTED = 1000
LISTED = 100
"""Most jobs of a page, and as many as it has where nobody says."""


def routes(models: Repository, jobs: Jobs, settings: ServiceSettings) -> Blueprint:
    """The routes of bulk jobs."""
    views = Blueprint("jobs", __name__)

    @views.post("/v1/jobs")
    def post_job() -> Response:
        source, wishes, key = submissions.read(request, models, settings)
        job = jobs.submit(source, wishes=wishes, owner=_owner(g.caller), idempotency_key=key)
        return _answer(view(job), 202, Location=f"/v1/jobs/{job.id}")

    @views.get("/v1/jobs")
    def list_jobs() -> Response:
        return _page(jobs)

    @views.get("/v1/jobs/<job_id>")
    def get_job(job_id: str) -> Response:
        return _answer(view(jobs.get(job_id, owner=_sees())))

    @views.delete("/v1/jobs/<job_id>")
    def delete_job(job_id: str) -> Response:
        jobs.delete(job_id, owner=_sees())
        return Response(status=204)

    @views.post("/v1/jobs/<job_id>/cancel")
    def cancel_job(job_id: str) -> Response:
        return _answer(view(jobs.cancel(job_id, owner=_sees())))

    @views.post("/v1/jobs/<job_id>/resume")
    def resume_job(job_id: str) -> Response:
        return _answer(view(jobs.resume(job_id, owner=_sees())))

    @views.get("/v1/jobs/<job_id>/results")
    def get_results(job_id: str) -> Response:
        suffix = wanted_format(request)
        found = jobs.results(job_id, FORMATS[suffix], owner=_sees())
        return send(request, found, f"{job_id}-results.{suffix}")

    @views.get("/v1/jobs/<job_id>/errors")
    def get_errors(job_id: str) -> Response:
        suffix = wanted_format(request)
        found = jobs.errors(job_id, FORMATS[suffix], owner=_sees())
        return send(request, found, f"{job_id}-errors.{suffix}")

    return views


def view(job: Job) -> dict[str, Any]:
    """A job as it is answered, with the paths of what belongs to it."""
    path = f"/v1/jobs/{job.id}"
    links = {"self": path, "results": f"{path}/results", "errors": f"{path}/errors"}
    return {**msgspec.to_builtins(job), "links": links}


def _owner(caller: Caller) -> str:
    """Whose a job is that a caller submits."""
    return "" if caller is LOCAL else caller.key_id


def _sees() -> str | None:
    """Whose jobs there are for the caller: their own; for an operator all."""
    caller: Caller = g.caller
    return None if ADMIN in caller.scopes else _owner(caller)


def _page(jobs: Jobs) -> Response:
    query.allow(request.args, "limit", "after", "status", "model", repeated=["status"])
    limit = query.whole_number(request.args, "limit", least=1, most=MAX_LISTED) or LISTED
    after, model = query.text(request.args, "after"), query.text(request.args, "model")
    status = _statuses()
    page = jobs.page(owner=_sees(), limit=limit, after=after, status=status, model=model)
    answer = _answer({"jobs": [view(job) for job in page.jobs], "next": page.next})
    if page.next:
        asked = {"limit": limit, "after": page.next, "status": ",".join(status), "model": model}
        following = urlencode({name: value for name, value in asked.items() if value}, safe=",")
        answer.headers["Link"] = f'</v1/jobs?{following}>; rel="next"'
    return answer


def _statuses() -> list[Status]:
    given = query.texts(request.args, "status")
    for each in given:
        if each not in STATUSES:
            raise InvalidParameter(name="status", reason=f"{each[:60]!r} is none of {', '.join(STATUSES)}")
    return [each for each in STATUSES if each in given]


def _answer(document: Mapping[str, Any], status: int = 200, **headers: str) -> Response:
    return Response(encode(document), status, headers=headers, content_type=JSON)
