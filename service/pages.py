"""Pages for people: those of `service.screens` where they are on, and ``/docs``, which tries the API out."""

from flask import Blueprint, Flask, Response, redirect
from flask_swagger_ui import get_swaggerui_blueprint
from werkzeug.wrappers import Response as WerkzeugResponse

from service.errors import KINDS
from service.openapi import document
from worker.answers import encode

DOCS_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'"
)
SWAGGER = {
    "app_name": "Nextday",
    "validatorUrl": None,  # it would send the document to a validator elsewhere
    "oauth2RedirectUrl": "/docs/oauth2-redirect.html",  # left out, it is made from the caller's Host header
}


def add_pages(app: Flask, *, screens: bool) -> None:
    """
    The pages of an app.

    Args:
        app: The app.
        screens: Whether there are pages with charts; without them nothing of these is imported, and `/` is `/docs/`.
    """
    docs = get_swaggerui_blueprint("/docs", "/openapi.json", config=SWAGGER, blueprint_name="docs")
    docs.after_request(_let_page_load_its_files)
    app.register_blueprint(docs)
    app.register_blueprint(_routes())
    if screens:
        from service import screens as with_charts  # noqa: PLC0415 - what a service without pages does without

        app.register_blueprint(with_charts.routes())
    else:
        app.add_url_rule("/", "index", _to_docs)


def _routes() -> Blueprint:
    views = Blueprint("pages", __name__)

    @views.get("/openapi.json")
    def openapi() -> Response:
        return Response(encode(document()), content_type="application/json")

    @views.get("/problems")
    def problems() -> Response:
        known = {slug: {"status": each.status, "title": each.title} for slug, each in KINDS.items()}
        return Response(encode({"problems": known}), content_type="application/json")

    return views


def _to_docs() -> WerkzeugResponse:
    return redirect("/docs/")


def _let_page_load_its_files(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = DOCS_POLICY
    return answer
