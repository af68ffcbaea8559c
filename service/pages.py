"""Pages for people: ``/docs`` tries the API out, from files in a package and nowhere else."""

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


def add_pages(app: Flask) -> None:
    """The pages of an app."""
    docs = get_swaggerui_blueprint("/docs", "/openapi.json", config=SWAGGER, blueprint_name="docs")
    docs.after_request(_let_page_load_its_files)
    app.register_blueprint(docs)
    app.register_blueprint(_routes())


def _routes() -> Blueprint:
    views = Blueprint("pages", __name__)

    @views.get("/")
    def index() -> WerkzeugResponse:
        return redirect("/docs/")

    @views.get("/openapi.json")
    def openapi() -> Response:
        return Response(encode(document()), content_type="application/json")

    @views.get("/problems")
    def problems() -> Response:
        known = {slug: {"status": each.status, "title": each.title} for slug, each in KINDS.items()}
        return Response(encode({"problems": known}), content_type="application/json")

    return views


def _let_page_load_its_files(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = DOCS_POLICY
    return answer
