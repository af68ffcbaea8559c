"""Pages of charts: how they are laid out, and how they come into a folder. Knows no plotly."""

import html
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from models.errors import DataError


def document(title: str, figures: Sequence[Any], *, about: str = "", height: str = "30rem") -> str:
    """
    An HTML page that works offline: plotly's JavaScript is in it, once.

    Args:
        title: Its heading.
        figures: Of plotly, from top to bottom.
        about: A paragraph under the heading.
        height: Of each figure, in CSS.
    """
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=place == 0, default_height=height)
        for place, figure in enumerate(figures)
    ]
    heading = html.escape(title)
    paragraph = f"<p>{html.escape(about)}</p>" if about else ""
    head = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{heading}</title><h1>{heading}</h1>{paragraph}",
    ]
    return "\n".join([*head, *parts, "</html>"])


def write_pages(module: str, pages: Mapping[str, tuple[Any, ...]], folder: Path) -> list[Path]:
    """
    Pages in a folder, which is made if it is not there.

    Args:
        module: Whose function `page` draws them; it is imported here, as it needs plotly.
        pages: By name of the file, what `page` takes.
        folder: Where they go.

    Raises:
        DataError: plotly is not installed.
    """
    try:
        page = import_module(module).page
    except ModuleNotFoundError as error:
        raise DataError("charts need plotly; install it with `pip install -e '.[evaluate]'` in the clone") from error
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.html" for name in pages]
    for file, given in zip(files, pages.values(), strict=True):
        file.write_text(page(*given), encoding="utf-8")
    return files
