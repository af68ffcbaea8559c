"""The models of a store, read from their cards alone: as a table, as facts, as names that a shell completes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.bundle import Card, names, read_card, versions
from models.errors import BundleError

HEADER = ("model", "version", "network", "parameters", "least closes", "pinball loss, bp", "beside GARCH-t")


def listing(store: Path) -> str:
    """
    One line a version, models in alphabetical order, oldest version first; a card that cannot be read says why.

    Args:
        store: The folder of the models.
    """
    if not names(store):
        return f"there are no models in {store}; train one with `nextday train`"
    read = list(_cards(store))
    rows = [HEADER, *(_row(each) for each in read if isinstance(each, Card))]
    return "\n".join([*aligned(rows), *(str(each) for each in read if isinstance(each, BundleError))])


def described(store: Path) -> dict[str, Any]:
    """
    The same as facts, with every score.

    Returns:
        `models`: name, version, digest, network, summary, parameters, min_days, levels and scores of each version; and
        `refused`: why each of the others cannot be read.
    """
    fields = ("name", "version", "digest", "network", "summary", "parameters", "min_days", "levels", "scores")
    read = list(_cards(store))
    return {
        "models": [{field: getattr(each, field) for field in fields} for each in read if isinstance(each, Card)],
        "refused": [str(each) for each in read if isinstance(each, BundleError)],
    }


def beginning(store: Path, start: str) -> list[str]:
    """Models of a store that begin so: names, and each version as ``name:version``."""
    name = start.partition(":")[0]
    wanted = [each for each in names(store) if each.startswith(name)]
    numbered = [f"{each}:{version}" for each in wanted for version in versions(store / each)]
    return [each for each in (*wanted, *numbered) if each.startswith(start)]


def _cards(store: Path) -> Iterator[Card | BundleError]:
    for name in names(store):
        for version in versions(store / name):
            try:
                yield read_card(store / name / str(version))
            except BundleError as error:
                yield error


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(card: Card) -> tuple[str, ...]:
    scores = next(iter(card.scores.values()), {})
    own = scores.get(card.name, {})
    loss, versus = own.get("pinball_bp"), own.get("vs_garch_percent")
    return (
        card.name,
        str(card.version),
        card.network,
        f"{card.parameters:,}",
        str(card.min_days),
        "" if loss is None else f"{loss:.2f}",
        "" if versus is None else f"{versus:+.2f} %",
    )
