import gzip
import re
import subprocess
import sys

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service import assets
from service.app import create_app
from service.screens import SCREENS
from service.settings import ServiceSettings


@pytest.fixture
def app() -> Flask:
    return create_app(ServiceSettings(device="cpu"))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.mark.parametrize("screen", SCREENS, ids=lambda each: each.name)
def test_a_page_and_all_that_it_names_is_there(screen: object, client: FlaskClient) -> None:
    page = client.get(screen.path)
    named = re.findall(r'(?:src|href|data-plotly)="(/pages/[^"]+)"', page.text)

    assert page.status_code == 200
    assert len(named) > 10
    assert {path: client.get(path).status_code for path in named} == dict.fromkeys(named, 200)
    assert "http://" not in page.text
    assert "https://" not in page.text


@pytest.mark.parametrize("screen", SCREENS, ids=lambda each: each.name)
def test_a_page_lets_no_script_or_style_run_that_is_no_file(screen: object, client: FlaskClient) -> None:
    page = client.get(screen.path)
    policy = dict(each.split(" ", 1) for each in page.headers["Content-Security-Policy"].split("; "))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", page.text)


def test_modules_import_files_that_are_there() -> None:
    files = assets.static_files()[1]
    for name, each in files.items():
        for target in re.findall(r'from "\./([^"]+)"', each.plain.decode() if name.endswith(".js") else ""):
            assert target in files, (name, target)


def test_charts_come_from_the_package_packed_and_for_good(client: FlaskClient) -> None:
    address = re.search(r'data-plotly="([^"]+)"', client.get("/").text)[1]

    packed = client.get(address, headers={"Accept-Encoding": "gzip"})
    plain = client.get(address)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 2
    assert packed.headers["Cache-Control"] == assets.FOREVER
    assert packed.headers["Vary"] == "Accept-Encoding"


def test_an_address_of_another_version_is_answered_and_not_kept(client: FlaskClient) -> None:
    answer = client.get("/pages/static/0123456789abcdef/pages.css")

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/pages/static/x/nothing.js", "/pages/static/x/../screens.py", "/pages/static/x/%2e%2e/app.py",
             "/pages/examples/nothing.csv", "/pages/examples/sp500-..%2fKO.csv", "/pages/nothing"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(path: str, client: FlaskClient) -> None:
    assert client.get(path).status_code in (401, 404)


def test_every_example_that_is_offered_is_there_and_says_its_source(client: FlaskClient) -> None:
    offered = client.get("/pages/examples").json["examples"]

    assert {"ibm", "wti", "sp500-KO"} <= {each["name"] for each in offered}
    for each in offered:
        answer = client.get(f"/pages/examples/{each['name']}.csv")
        assert answer.status_code == 200
        assert answer.text.startswith("id,date,")
        assert each["source"]


def test_plotly_is_served_as_it_is_but_for_the_parentheses_that_have_it_compiled_while_it_arrives() -> None:
    path = assets._plotly_script()
    assert path is not None
    original = path.read_bytes().rstrip()

    served = assets.compiled_at_once(original)

    assert len(served) == len(original) + 2
    assert served.replace(b": this, (() => {", b": this, () => {").removesuffix(b"})));") == original.removesuffix(
        b"}));"
    )
    assert served.count(b": this, (() => {") == 1
    assert served.endswith(b"\nreturn Plotly;\n})));")


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"window.Plotly = {};",
        b"return Plotly;\n}));",
        b"(f (x ? self : this, () => {\nreturn Plotly;\n})); more",
        b"(f (x ? self : this, () => {\n y ? self : this, () => {\nreturn Plotly;\n}));",
    ],
)
def test_a_script_of_another_shape_is_served_as_it_is(script: bytes) -> None:
    assert assets.compiled_at_once(script) == script


def test_a_page_with_charts_has_plotly_on_its_way_from_its_head_on_and_one_without_has_not(client: FlaskClient) -> None:
    preloaded = {
        path: re.findall(r'rel="preload" as="script" href="([^"]+)"', client.get(path).text)
        for path in ("/", "/pages/record", "/pages/jobs")
    }
    address = re.search(r'data-plotly="([^"]+)"', client.get("/").text)[1]

    assert preloaded == {"/": [address], "/pages/record": [address], "/pages/jobs": []}


def test_without_plotly_the_pages_are_there_and_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "_plotly_script", lambda: None)  # it is installed where the tests are

    client = create_app(ServiceSettings(device="cpu")).test_client()

    page = client.get("/")
    assert page.status_code == 200
    assert "pip install -e &#39;.[pages]&#39;" in page.text or "pip install -e '.[pages]'" in page.text
    assert 'data-plotly=""' in page.text
    assert client.get("/pages/plotly/x.js").status_code == 404


def test_without_pages_nothing_of_them_is_imported_or_served() -> None:
    code = (
        "import sys\n"
        "from service.app import create_app\n"
        "from service.settings import ServiceSettings\n"
        "client = create_app(ServiceSettings(device='cpu', pages='0')).test_client()\n"
        "print(client.get('/').location, client.get('/pages/why').status_code)\n"
        "print(sorted({'service.screens', 'service.assets', 'service.examples', 'plotly'} & {*sys.modules}))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["/docs/ 404", "[]"]


def test_with_pages_plotly_is_served_and_not_imported(client: FlaskClient) -> None:
    code = (
        "import sys\n"
        "from service.app import create_app\n"
        "from service.settings import ServiceSettings\n"
        "create_app(ServiceSettings(device='cpu')).test_client().get('/')\n"
        "print(sorted({'plotly', 'skfolio', 'pandas'} & {*sys.modules}))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
