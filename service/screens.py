"""The pages for people: shells that scripts fill, by the API that everybody has. Imported where they are wanted."""

from typing import NamedTuple

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from service.assets import FOREVER, Asset, Charts, static_files
from service.examples import example_csv, examples
from worker.answers import encode
from worker.media_types import CSV, JSON

EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
"""The hash of no text: plotly makes an empty style element, whose rules it puts in by script, and empty attributes."""
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-hashes' {EMPTY_STYLE}; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Screen(NamedTuple):
    """A page: its address, its name in templates and scripts, and what people call it."""

    path: str
    name: str
    title: str


SCREENS = (
    Screen("/", "forecast", "Forecast"),
    Screen("/pages/gates", "gates", "What it kept"),
    Screen("/pages/why", "why", "Why an LSTM"),
    Screen("/pages/record", "record", "Record"),
    Screen("/pages/jobs", "jobs", "Jobs"),
    Screen("/pages/health", "health", "Health"),
)
"""In the order of the navigation."""


def routes() -> Blueprint:
    """The routes of the pages and of their files."""
    views = Blueprint("screens", __name__, template_folder="templates")
    charts = Charts()
    for screen in SCREENS:
        _add_screen(views, screen, charts)
    _add_files(views, charts)

    @views.get("/pages/examples")
    def list_examples() -> Response:
        return Response(encode({"examples": [each._asdict() for each in examples()]}), content_type=JSON)

    @views.get("/pages/examples/<name>.csv")
    def get_example(name: str) -> Response:
        if (content := example_csv(name)) is None:
            raise NotFound
        return Response(content, content_type=CSV)

    return views


def _add_screen(views: Blueprint, screen: Screen, charts: Charts) -> None:
    def show() -> Response:
        page = render_template(
            f"{screen.name}.html", screen=screen, screens=SCREENS, static=_static_base(), plotly=charts.script
        )
        return Response(page, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})

    views.add_url_rule(screen.path, screen.name, show)


def _add_files(views: Blueprint, charts: Charts) -> None:
    @views.get("/pages/static/<digest>/<path:name>")
    def get_file(digest: str, name: str) -> Response:
        current, files = static_files()
        if name not in files:
            raise NotFound
        return _file(files[name], unchanging=digest == current)

    @views.get("/pages/plotly/<digest>.js")
    def get_plotly(digest: str) -> Response:
        if (script := charts.script) is None:
            raise NotFound
        return _file(script.asset, unchanging=digest == script.digest)


def _file(asset: Asset, *, unchanging: bool) -> Response:
    """A file, packed for those who take it so; of another version's address it is not kept."""
    packed = request.accept_encodings.quality("gzip") > 0
    answer = Response(asset.packed if packed else asset.plain, content_type=asset.content_type)
    answer.headers["Cache-Control"] = FOREVER if unchanging else "no-cache"
    answer.headers["Vary"] = "Accept-Encoding"
    if packed:
        answer.headers["Content-Encoding"] = "gzip"
    return answer


def _static_base() -> str:
    return f"/pages/static/{static_files()[0]}"
