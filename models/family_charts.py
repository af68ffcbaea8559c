"""The family as a page of charts. Needs plotly, whose JavaScript goes into the page, so that it works offline."""

from typing import Any

import plotly.graph_objects as go

from models.plots import document

_TITLE = "LSTM, RNN and MLP by history length"


def page(family: dict[str, Any]) -> str:
    """
    An HTML page: losses by history length, what separates the networks, and how many parameters each has.

    Args:
        family: The fields of `models.family.Family`.
    """
    figures = [losses(family), differences(family), parameters(family)]
    about = (
        f"{family['forecasts']:,} forecasts of {family['series']} series, from {family['span'][0]} to before "
        f"{family['span'][1]}, seed {family['seed']}."
    )
    return document(_TITLE, figures, about=about)


def losses(family: dict[str, Any]) -> go.Figure:
    """Each network's loss beside GARCH-t with the whole history, in per cent, by the closes that it sees."""
    figure = go.Figure()
    for network, cells in _by_network(family).items():
        beside = [cell["vs_garch_percent"] for cell in cells]
        figure.add_scatter(x=_days(cells), y=beside, mode="lines+markers", name=network.upper())
    figure.add_hline(y=0, annotation_text="GARCH(1,1)-t with the whole history")
    figure.update_layout(title="Pinball loss by history length: lower is better", yaxis_title="per cent beside GARCH-t")
    return _by_length(figure)


def differences(family: dict[str, Any]) -> go.Figure:
    """One network's loss less another's, with two standard errors to either side."""
    figure = go.Figure()
    pairs = dict.fromkeys((each["network"], each["other"]) for each in family["differences"])
    for one, other in pairs:
        rows = [each for each in family["differences"] if (each["network"], each["other"]) == (one, other)]
        errors = [2 * abs(row["percent"] / row["t"]) if row["t"] else 0.0 for row in rows]
        figure.add_scatter(
            x=_days(rows),
            y=[row["percent"] for row in rows],
            error_y={"type": "data", "array": errors},
            mode="lines+markers",
            name=f"{one.upper()} less {other.upper()}",
        )
    figure.add_hline(y=0)
    figure.update_layout(
        title="Difference of losses, with two Newey-West standard errors: below zero, the first is better",
        yaxis_title="per cent of GARCH-t's loss",
    )
    return _by_length(figure)


def parameters(family: dict[str, Any]) -> go.Figure:
    """Trained weights and biases: the same for any length where there is a feedback loop, more where there is none."""
    figure = go.Figure()
    for network, cells in _by_network(family).items():
        sizes = [cell["parameters"] for cell in cells]
        figure.add_scatter(x=_days(cells), y=sizes, mode="lines+markers", name=network.upper())
    figure.update_layout(title="Parameters by history length", yaxis_title="trained weights and biases")
    return _by_length(figure)


def _by_network(family: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    networks = dict.fromkeys(cell["network"] for cell in family["cells"])
    return {name: [cell for cell in family["cells"] if cell["network"] == name] for name in networks}


def _days(rows: list[dict[str, Any]]) -> list[int]:
    return [row["days"] for row in rows]


def _by_length(figure: go.Figure) -> go.Figure:
    days = sorted({day for trace in figure.data for day in trace.x})
    figure.update_xaxes(type="log", tickvals=days, title="closes that a forecast sees")
    return figure
