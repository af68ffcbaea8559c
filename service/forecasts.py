"""``POST /v1/forecasts``: decode, check, run, encode."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from flask import Blueprint, Response, request

from models.ahead import forecast_ahead
from models.errors import InvalidSeries, SeriesFault
from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.repository import Repository
from models.walk import Walk
from service.bodies import read_body
from service.errors import TooManyCloses, TooManyDays
from service.settings import ServiceSettings
from worker.answers import Levels, days, encode, forecast, level_columns
from worker.requests import Series, decode
from worker.tables import JSON

LARGE_BYTES = 1024 * 1024
LARGE_AT_ONCE = 2
"""Large bodies that a process works on at a time, since a number in memory takes many times its bytes in JSON."""
MAX_DAYS_DRAWN = 500
"""Days behind the next one, over all series of a request: each is a thousand rows of work."""
AS_A_JOB = "; send more as a job to POST /v1/jobs"


def routes(models: Repository, settings: ServiceSettings) -> Blueprint:
    """The route of single forecasts."""
    views = Blueprint("forecasts", __name__)
    turn = threading.BoundedSemaphore(LARGE_AT_ONCE)

    @views.post("/v1/forecasts")
    def post_forecasts() -> Response:
        body = read_body(request, most=settings.max_body_bytes, media_types=(JSON,), hint=AS_A_JOB)
        with turn if len(body) > LARGE_BYTES else nullcontext():
            return Response(answer(body, models, settings), content_type=JSON)

    return views


def answer(body: bytes, models: Repository, settings: ServiceSettings) -> bytes:
    """
    The answer to a forecast request.

    Args:
        body: A `worker.requests.ForecastRequest` as JSON.
        models: Where its model is.
        settings: How much is taken.

    Raises:
        InputError: The request cannot be answered; every faulty series of it is named.
        TooManyCloses: It has more closes than are taken.
        TooManySeries: It has more series than are taken.
        TooManyDays: It asks for more days ahead, over all series, than are taken.
        ModelError: The model is not ready.
    """
    if (numbers := body.count(b",")) > settings.max_closes:
        raise TooManyCloses(given=numbers, most=settings.max_closes)
    asked, faults = decode(body, most=settings.max_series)
    forecaster = models.get(asked.model, asked.version)
    levels = level_columns(asked.levels, forecaster.card.levels)
    rows = Ragged.of([series.closes for series in asked.series])
    _check(rows, faults, forecaster)
    if (drawn := len(rows) * (asked.horizon - 1)) > MAX_DAYS_DRAWN:
        raise TooManyDays(given=drawn, most=MAX_DAYS_DRAWN)
    quantiles = forecaster.together(rows)
    forecasts = _forecasts(asked.series, rows, quantiles, levels)
    if asked.horizon > 1:
        walk = models.walk(asked.model, forecaster.card.version)
        for each, ahead in zip(forecasts, _ahead(walk, rows, quantiles, asked.horizon), strict=True):
            each["days"] = days(ahead, levels)
    card = forecaster.card
    model = {"name": card.name, "version": card.version, "digest": card.digest, "provider": forecaster.provider}
    return encode({"model": model, "forecasts": forecasts})


def _ahead(walk: Walk, rows: Ragged, quantiles: Floats, horizon: int) -> Iterator[Floats]:
    """Quantiles of each day to come for each row; the next day's are the forecaster's own. Shapes ``(H, Q)``."""
    for closes, tomorrow in zip(rows, quantiles, strict=True):
        ahead = forecast_ahead(walk, closes, horizon).astype(np.float32)
        ahead[0] = tomorrow
        yield ahead


def _check(rows: Ragged, unreadable: Mapping[int, SeriesFault], forecaster: Forecaster) -> None:
    """Raise `InvalidSeries` with what could not be read and what cannot be forecast, in the request's order."""
    faults = {fault.series: fault for fault in forecaster.faults(rows)}
    faults.update(unreadable)
    if faults:
        raise InvalidSeries(faults=[faults[place] for place in sorted(faults)])


def _forecasts(series: list[Series], rows: Ragged, quantiles: Floats, levels: Levels) -> list[dict[str, Any]]:
    last_closes = rows.values[rows.offsets[1:] - 1]
    return [forecast(each.id, each.as_of, last_closes[row], quantiles[row], levels) for row, each in enumerate(series)]
