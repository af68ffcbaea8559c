"""The models of a store as a table for people, read from their cards alone."""

from pathlib import Path

from models.bundle import Card, read_card, versions
from models.errors import BundleError

HEADER = ("model", "version", "network", "parameters", "least closes", "pinball loss, bp", "beside a random walk")


def listing(store: Path) -> str:
    """
    One line a version, models in alphabetical order, oldest version first; a card that cannot be read says why.

    Args:
        store: The folder of the models.
    """
    names = sorted(folder.name for folder in store.iterdir() if versions(folder)) if store.is_dir() else []
    if not names:
        return f"there are no models in {store}; train one with `nextday train`"
    rows: list[tuple[str, ...]] = [HEADER]
    refused = []
    for name in names:
        for version in versions(store / name):
            try:
                rows.append(_row(read_card(store / name / str(version))))
            except BundleError as error:
                refused.append(str(error))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *refused])


def _row(card: Card) -> tuple[str, ...]:
    own = card.scores.get(card.name) or card.scores.get(card.network) or {}
    loss, versus = own.get("pinball_bp"), own.get("pinball_vs_random_walk_percent")
    return (
        card.name,
        str(card.version),
        card.network,
        f"{card.parameters:,}",
        str(card.min_days),
        "" if loss is None else f"{loss:.2f}",
        "" if versus is None else f"{versus:+.2f} %",
    )
