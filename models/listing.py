"""The models of a store as a table for people, read from their cards alone."""

from collections.abc import Sequence
from pathlib import Path

from models.bundle import Card, names, read_card, versions
from models.errors import BundleError

HEADER = ("model", "version", "network", "parameters", "least closes", "pinball loss, bp", "beside GARCH-t")


def listing(store: Path) -> str:
    """
    One line a version, models in alphabetical order, oldest version first; a card that cannot be read says why.

    Args:
        store: The folder of the models.
    """
    known = names(store)
    if not known:
        return f"there are no models in {store}; train one with `nextday train`"
    rows: list[tuple[str, ...]] = [HEADER]
    refused = []
    for name in known:
        for version in versions(store / name):
            try:
                rows.append(_row(read_card(store / name / str(version))))
            except BundleError as error:
                refused.append(str(error))
    return "\n".join([*aligned(rows), *refused])


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
