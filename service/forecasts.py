"""``POST /v1/forecasts``: decode, check, run, encode."""

import functools
from collections.abc import Iterator

import numpy as np

from models.ahead import forecast_ahead
from models.errors import InvalidSeries, SeriesFault
from models.forecaster import Forecaster
from models.gates import Gates, check_explains
from models.ragged import Floats, Ragged
from models.repository import Repository
from models.walk import Walk
from service.errors import TooManyCloses, TooManyDays, TooMuchToExplain
from service.exchange import Answer
from service.settings import ServiceSettings
from service.work import Work
from worker.answers import Levels, days, encode, explanation, forecasts, level_columns
from worker.media_types import JSON
from worker.requests import Series, decode

PATH = "/v1/forecasts"
MAX_DAYS_DRAWN = 500
"""Days behind the next one, over all series of a request: each is a thousand rows of work."""
AS_A_JOB = "; send more as a job to POST /v1/jobs"


def prepare(body: bytes, models: Repository, settings: ServiceSettings) -> Work:
    """
    The rows of a forecast request.

    Args:
        body: A `worker.requests.ForecastRequest` as JSON.
        models: Where its model is.
        settings: How much is taken.

    Raises:
        InputError: The request cannot be answered; every faulty series of it is named.
        TooManyCloses: It has more closes than are taken.
        TooManySeries: It has more series than are taken.
        TooManyDays: It asks for more days ahead, over all series, than are taken.
        TooMuchToExplain: It asks to explain more closes, over all series, than are explained.
        ModelError: The model is not ready.
    """
    most = settings.max_closes
    # A body has no more commas than bytes, so a short one need not be counted.
    if len(body) > most and (numbers := body.count(b",")) > most:
        raise TooManyCloses(given=numbers, most=most)
    asked, faults = decode(body, most=settings.max_series)
    forecaster = models.get(asked.model, asked.version)
    levels = level_columns(asked.levels, forecaster.card.levels)
    if asked.explain:
        check_explains(forecaster.card)
    rows = Ragged.of_lists([series.closes for series in asked.series])
    _check(rows, faults, forecaster)
    if (drawn := len(rows) * (asked.horizon - 1)) > MAX_DAYS_DRAWN:
        raise TooManyDays(given=drawn, most=MAX_DAYS_DRAWN)
    if asked.explain and len(rows.values) > settings.max_explained_closes:
        raise TooMuchToExplain(given=len(rows.values), most=settings.max_explained_closes)

    def finish(quantiles: Floats) -> Answer:
        forecasts = _forecasts(asked.series, rows, quantiles, levels)
        if asked.horizon > 1:
            forecasts = _with_days(forecasts, _ahead(forecaster.walk, rows, quantiles, asked.horizon), levels)
        if asked.explain:
            forecasts = _with_explanations(forecasts, forecaster.gates(), rows)
        content = b'{"model":%b,"forecasts":[%b]}' % (model_used(forecaster), b",".join(forecasts))
        return Answer(200, [("content-type", JSON)], content)

    return Work(forecaster, rows, finish, heavy=asked.horizon > 1 or asked.explain)


def model_used(forecaster: Forecaster) -> bytes:
    """The model that answered and what it ran on, as JSON."""
    card = forecaster.card
    return _encoded(card.name, card.version, card.digest, forecaster.provider)


@functools.lru_cache(maxsize=256)
def _encoded(name: str, version: int, digest: str, provider: str) -> bytes:
    return encode({"name": name, "version": version, "digest": digest, "provider": provider})


def _ahead(walk: Walk, rows: Ragged, quantiles: Floats, horizon: int) -> Iterator[Floats]:
    """Quantiles of each day to come for each row; the next day's are the forecaster's own. Shapes ``(H, Q)``."""
    for closes, tomorrow in zip(rows, quantiles, strict=True):
        ahead = forecast_ahead(walk, closes, horizon).astype(np.float32)
        ahead[0] = tomorrow
        yield ahead


def _check(rows: Ragged, unreadable: dict[int, SeriesFault], forecaster: Forecaster) -> None:
    """Raise `InvalidSeries` with what could not be read and what cannot be forecast, in the request's order."""
    found = forecaster.faults(rows)
    if found or unreadable:
        faults = {fault.series: fault for fault in found} | unreadable
        raise InvalidSeries(faults=[faults[place] for place in sorted(faults)])


def _forecasts(series: list[Series], rows: Ragged, quantiles: Floats, levels: Levels) -> list[bytes]:
    last_closes = rows.values[rows.offsets[1:] - 1].astype(np.float32)
    return forecasts([each.id for each in series], [each.as_of for each in series], last_closes, quantiles, levels)


def _with_days(forecasts: list[bytes], ahead: Iterator[Floats], levels: Levels) -> list[bytes]:
    """Forecasts in JSON with each of the next days, shape ``(H, Q)``, in place of the closing brace."""
    return [
        b'%b,"days":%b}' % (one[:-1], encode(days(quantiles, levels)))
        for one, quantiles in zip(forecasts, ahead, strict=True)
    ]


def _with_explanations(forecasts: list[bytes], gates: Gates, rows: Ragged) -> list[bytes]:
    """Forecasts in JSON with what the network kept, added and showed, in place of the closing brace."""
    return [
        b'%b,"explain":%b}' % (one[:-1], explanation(gates(closes)))
        for one, closes in zip(forecasts, rows, strict=True)
    ]
