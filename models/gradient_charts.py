"""Gradients as a page of charts. Needs plotly, whose JavaScript goes into the page, so that it works offline."""

from typing import Any

import plotly.graph_objects as go

from models.measures import PER_CENT
from models.plots import document

TITLE = "What becomes of the gradient over time"
_CHANCE = 50


def page(measured: dict[str, Any]) -> str:
    """
    An HTML page of charts.

    Args:
        measured: A `models.gradients.Gradients` as a dictionary; parts without rows have no chart.
    """
    figures = [
        draw(measured[part])
        for part, draw in (
            ("one_unit", one_unit),
            ("profiles", profiles),
            ("carried", carried),
            ("exploding", exploding),
            ("clipped", clipped),
            ("memory", memory),
        )
        if measured[part]
    ]
    return document(TITLE, figures, height="32rem")


def one_unit(rows: list[dict[str, Any]]) -> go.Figure:
    """The gradient of one linear unit, a line a weight."""
    figure = go.Figure()
    for weight in dict.fromkeys(row["weight"] for row in rows):
        own = [row for row in rows if row["weight"] == weight]
        values = [row["autograd"] for row in own]
        figure.add_scatter(x=[row["lag"] for row in own], y=values, mode="lines+markers", name=f"w = {weight}")
    return _titled(figure, "One linear unit: the gradient over k steps is w^k", "steps back", "gradient")


def profiles(rows: list[dict[str, Any]]) -> go.Figure:
    """The norm of the gradient by what was seen so many days before."""
    figure = go.Figure()
    for row in rows:
        name = f"{row['layer']}, {row['weights']}: {row['output']}"
        line = {"dash": "dot" if row["layer"] == "lstm" else "solid"}  # there are more lines than colours
        lags = list(range(len(row["norms"])))
        figure.add_scatter(x=lags, y=_positive(row["norms"]), mode="lines", line=line, name=name)
    title = "Real networks: norm of the gradient of an output by the features of an earlier day"
    return _titled(figure, title, "days back", "norm of the gradient")


def carried(rows: list[dict[str, Any]]) -> go.Figure:
    """What a return so many days before does to tomorrow's band."""
    figure = go.Figure()
    for row in rows:
        for by, name in (("whole", "features and state"), ("by_features", "features alone")):
            label, values = f"{row['layer']}: {name}", _positive(row[by])
            figure.add_scatter(x=list(range(len(values))), y=values, mode="lines", name=label)
    title = "Trained networks: what the width of the 90 % band gains for each unit of an earlier return"
    return _titled(figure, title, "days back", "absolute derivative")


def exploding(rows: list[dict[str, Any]]) -> go.Figure:
    """The norm of the gradient by the recurrent weights over the length of the sequence."""
    figure = go.Figure()
    for bend, size, scale in dict.fromkeys((row["bend"], row["input_size"], row["scale"]) for row in rows):
        own = [row for row in rows if (row["bend"], row["input_size"], row["scale"]) == (bend, size, scale)]
        lengths, norms = ([row[key] for row in own] for key in ("length", "norm"))
        name = f"{bend}, inputs of {size:g}, weights times {scale:g}"
        figure.add_scatter(x=lengths, y=norms, mode="lines+markers", name=name)
    title = "A plain RNN with its recurrent weights scaled up: gradient of the loss by those weights"
    return _titled(figure, title, "steps of the sequences", "norm of the gradient")


def clipped(rows: list[dict[str, Any]]) -> go.Figure:
    """The loss of each step, with and without clipping; a line ends where the loss is no number."""
    figure = go.Figure()
    for row in rows:
        how = "not clipped" if row["clip"] is None else f"clipped at {row['clip']:g}"
        name = f"{row['bend']}, weights times {row['scale']:g}: {how}"
        steps = list(range(len(row["losses"])))
        figure.add_scatter(x=steps, y=row["losses"], mode="lines+markers", marker={"size": 4}, name=name)
    return _titled(figure, "Gradient descent with and without clipping", "optimizer step", "loss")


def memory(rows: list[dict[str, Any]]) -> go.Figure:
    """How often the symbol was right: the mean of the runs, and its lowest and highest as bars."""
    figure = go.Figure()
    for start in dict.fromkeys(row["start"] for row in rows):
        own = [row for row in rows if row["start"] == start]
        runs = [[PER_CENT * accuracy for accuracy in row["accuracies"]] for row in own]
        means = [sum(each) / len(each) for each in runs]
        above = [max(each) - mean for each, mean in zip(runs, means, strict=True)]
        below = [mean - min(each) for each, mean in zip(runs, means, strict=True)]
        spread = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        lags = [row["lag_days"] for row in own]
        figure.add_scatter(x=lags, y=means, error_y=spread, mode="lines+markers", name=start)
    figure.add_hline(y=_CHANCE, line_dash="dot", annotation_text="a coin")
    figure.update_layout(title="Memory task: say what was seen k days ago", xaxis_title="days back, k")
    return figure.update_xaxes(type="log").update_yaxes(title="right, per cent", range=[40, 102])


def _positive(values: list[float]) -> list[float | None]:
    """Values for a logarithmic axis, which has no 0."""
    return [value or None for value in values]


def _titled(figure: go.Figure, title: str, x: str, y: str) -> go.Figure:
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y)
    return figure.update_yaxes(type="log", exponentformat="power")
