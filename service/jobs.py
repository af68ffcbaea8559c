"""``/v1/jobs``: submit, look, read, cancel."""

from typing import Any

import msgspec
from flask import Blueprint, Request, Response, request
from werkzeug.wsgi import wrap_file

from models.bounds import DEFAULT_MODEL
from models.errors import UnknownLevel, UnknownModel
from models.repository import Repository
from service.bodies import open_body
from service.errors import InvalidParameter, NotAcceptable
from service.settings import ServiceSettings
from worker.answers import encode, level_columns
from worker.downloads import Download
from worker.intake import Upload
from worker.jobs import Jobs, Wishes
from worker.media_types import CSV, JSON, NDJSON
from worker.reading.formats import MEDIA_TYPES
from worker.requests import Options
from worker.views import Job

DOWNLOADS = {"ndjson": NDJSON, "csv": CSV}
MAX_LISTED = 1000
MAX_KEY_LENGTH = 200
SENT_BYTES = 256 * 1024


def routes(models: Repository, jobs: Jobs, settings: ServiceSettings) -> Blueprint:
    """The routes of bulk jobs."""
    views = Blueprint("jobs", __name__)

    @views.post("/v1/jobs")
    def post_job() -> Response:
        _only(request, "model", "version", "levels")
        options = _options(request)
        _check_options(models, options)
        key = _idempotency_key(request)
        body = open_body(request, most=settings.max_job_bytes, media_types=MEDIA_TYPES)
        job = jobs.submit(Upload(body, request.mimetype), wishes=Wishes(options=options), idempotency_key=key)
        answer = _answer(view(job), 202)
        answer.headers["Location"] = f"/v1/jobs/{job.id}"
        return answer

    @views.get("/v1/jobs")
    def list_jobs() -> Response:
        _only(request, "limit")
        limit = _whole_number(request, "limit", least=1, most=MAX_LISTED) or 100
        return _answer({"jobs": [view(job) for job in jobs.page(limit=limit).jobs]})

    @views.get("/v1/jobs/<job_id>")
    def get_job(job_id: str) -> Response:
        return _answer(view(jobs.get(job_id)))

    @views.post("/v1/jobs/<job_id>/cancel")
    def cancel_job(job_id: str) -> Response:
        return _answer(view(jobs.cancel(job_id)))

    @views.get("/v1/jobs/<job_id>/results")
    def get_results(job_id: str) -> Response:
        suffix = _format(request)
        return _download(jobs.results(job_id, DOWNLOADS[suffix]), f"{job_id}-results.{suffix}")

    @views.get("/v1/jobs/<job_id>/errors")
    def get_errors(job_id: str) -> Response:
        suffix = _format(request)
        return _download(jobs.errors(job_id, DOWNLOADS[suffix]), f"{job_id}-errors.{suffix}")

    return views


def view(job: Job) -> dict[str, Any]:
    """A job as it is answered, with the paths of what belongs to it."""
    path = f"/v1/jobs/{job.id}"
    links = {"self": path, "results": f"{path}/results", "errors": f"{path}/errors"}
    return {**msgspec.to_builtins(job), "links": links}


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    return Response(encode(document), status, content_type=JSON)


def _download(found: Download, name: str) -> Response:
    """A file that lies ready; the length that is told gives away an answer that was cut off."""
    sent = wrap_file(request.environ, found.open_here(), SENT_BYTES)
    answer = Response(sent, content_type=found.media_type, direct_passthrough=True)
    answer.content_length = found.size_bytes
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _format(asked: Request) -> str:
    """The format of a download, by ``?format=`` or else by Accept."""
    _only(asked, "format")
    if (given := asked.args.get("format")) is not None:
        if given not in DOWNLOADS:
            raise InvalidParameter(name="format", reason=f"{given[:60]!r} is none of {', '.join(DOWNLOADS)}")
        return given
    if not asked.accept_mimetypes:
        return "ndjson"
    best = asked.accept_mimetypes.best_match(DOWNLOADS.values())
    if best is None:
        raise NotAcceptable(given=asked.headers["Accept"][:60], known=DOWNLOADS.values())
    return next(suffix for suffix, media_type in DOWNLOADS.items() if media_type == best)


def _only(asked: Request, *known: str) -> None:
    """Refuse parameters that nobody would look at, and those given twice."""
    for name, values in asked.args.lists():
        if name not in known:
            raise InvalidParameter(name=name[:60], reason=f"is no parameter here; there are: {', '.join(known)}")
        if len(values) > 1:
            raise InvalidParameter(name=name, reason=f"is there {len(values)} times; give it once")


def _whole_number(asked: Request, name: str, *, least: int, most: int | None = None) -> int | None:
    given = asked.args.get(name)
    if given is None:
        return None
    wanted = f"a whole number, at least {least}" + ("" if most is None else f" and at most {most}")
    if not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise InvalidParameter(name=name, reason=f"{given[:60]!r} is not {wanted}")
    number = int(given)
    if number < least or (most is not None and number > most):
        raise InvalidParameter(name=name, reason=f"{number} is not {wanted}")
    return number


def _levels(asked: Request) -> list[float] | None:
    given = asked.args.get("levels")
    if given is None:
        return None
    try:
        # A blank in place of an underscore, which Python takes in a number.
        return [float(level) for level in given.replace("_", " ").split(",")]
    except ValueError:
        reason = f"{given[:60]!r} is not a list of numbers like 0.05,0.5,0.95"
        raise InvalidParameter(name="levels", reason=reason) from None


def _options(asked: Request) -> Options:
    """Model, version and levels by the query; a JSON body says them itself, beside its series."""
    if asked.mimetype == JSON and asked.args:
        raise InvalidParameter(name=next(iter(asked.args))[:60], reason="belongs in the JSON body, beside `series`")
    model = asked.args.get("model", DEFAULT_MODEL)
    return Options(model=model, version=_whole_number(asked, "version", least=1), levels=_levels(asked))


def _check_options(models: Repository, options: Options) -> None:
    """Refuse what cannot be answered before an upload is read, and name the parameter."""
    try:
        level_columns(options.levels, models.card(options.model, options.version).levels)
    except UnknownModel as error:
        raise InvalidParameter(name="model" if error.version is None else "version", reason=str(error)) from error
    except UnknownLevel as error:
        raise InvalidParameter(name="levels", reason=str(error)) from error


def _idempotency_key(asked: Request) -> str | None:
    key = asked.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        reason = f"has {len(key)} characters; it is 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        raise InvalidParameter(name="Idempotency-Key", reason=reason)
    return key
