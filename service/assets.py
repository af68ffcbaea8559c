"""The files of the pages: packed once, kept in memory, under addresses that change with their content."""

import gzip
import hashlib
import importlib.util
import mimetypes
import re
import threading
from functools import cache
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).parent / "static"
FOREVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript; charset=utf-8", ".csv": "text/csv; charset=utf-8"}
"""Where what the system says differs from machine to machine."""

_FACTORY = b": this, () => {\n", b"return Plotly;\n}));"
"""How plotly's script goes from its loader to the function that is all of it, and how it ends."""
_OF_MAPS = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')
"""Where plotly looks whether the styles of its maps are in the page already."""


class Asset:
    """A file as it is sent: as it is, and packed by gzip once somebody asks for that."""

    def __init__(self, content_type: str, plain: bytes) -> None:
        """Not packed as yet."""
        self.content_type = content_type
        self.plain = plain
        self._lock = threading.Lock()
        self._packed: bytes | None = None

    @property
    def packed(self) -> bytes:
        """By gzip; a quarter of a second for plotly's script, once, whoever else asks meanwhile."""
        with self._lock:
            self._packed = self._packed or gzip.compress(self.plain, 6, mtime=0)
            return self._packed


class Script(NamedTuple):
    """
    plotly's JavaScript.

    Attributes:
        digest: Of its content.
        asset: The file.
        maps: The id of an element whose presence keeps it from putting in its maps' styles, which no page here needs
            and no policy should have to allow; empty where it puts in none.
    """

    digest: str
    asset: Asset
    maps: str


class Charts:
    """plotly's JavaScript, from the package where it is installed; nothing of it is read before somebody asks."""

    def __init__(self) -> None:
        """Look where it is; plotly itself, Python all of it, is not imported."""
        self.path = _plotly_script()
        self._lock = threading.Lock()
        self._found: Script | None = None

    @property
    def script(self) -> Script | None:
        """The script; None where plotly is not installed."""
        if self.path is None:
            return None
        with self._lock:
            self._found = self._found or _read_script(self.path)
            return self._found


def _read_script(path: Path) -> Script:
    content = compiled_at_once(path.read_bytes())
    asset = Asset(TYPES[".js"], content)
    maps = _OF_MAPS.search(content)
    return Script(digest_of(content), asset, maps[1].decode() if maps else "")


def compiled_at_once(script: bytes) -> bytes:
    """
    The script of plotly with parentheses around the one function that is all of it; another script as it is.

    V8 takes a function in parentheses for one that is called at once, and compiles it on another thread while the
    script arrives. Without them it reads the 4.7 MB over there, keeps nothing, and compiles them when they are called:
    twice the time on the thread that draws.
    """
    opened, closed = _FACTORY
    if script.count(opened) != 1 or not script.rstrip().endswith(closed):
        return script
    before, after = script.rstrip()[: -len(closed)].split(opened)
    return before + opened.replace(b"() =>", b"(() =>") + after + closed.replace(b"}", b"})")


def _plotly_script() -> Path | None:
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        return None
    script = Path(found.origin).parent / "package_data" / "plotly.min.js"
    return script if script.is_file() else None


def digest_of(content: bytes) -> str:
    """Sixteen letters that change with the content."""
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def static_files() -> tuple[str, dict[str, Asset]]:
    """The digest of all files of `static/` together, and each file by its path there."""
    paths = sorted(path for path in STATIC.rglob("*") if path.is_file())
    files = {path.relative_to(STATIC).as_posix(): _asset(path) for path in paths}
    return digest_of(b"".join(name.encode() + each.plain for name, each in files.items())), files


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Asset(kind, content)
