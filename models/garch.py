"""
The econometrician's tools, by the arch package: GARCH(1,1)-t, and GJR-GARCH-t with empirical residual quantiles.

Fitted by maximum likelihood to at most 2,500 days, again every 250 days; between two fits the variance is carried on
with the parameters of the earlier one. A fit reads nothing behind its own day.

    garch_t   Bollerslev, Review of Economics and Statistics 69 (1987): quantiles of the fitted Student's t
    gjr_fhs   Glosten, Jagannathan and Runkle, Journal of Finance 48 (1993), with filtered historical simulation,
              Barone-Adesi, Giannopoulos and Vosper, Journal of Futures Markets 19 (1999): quantiles of the
              standardised residuals of the days fitted
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.ragged import Doubles

FIRST_FIT_DAYS, REFIT_DAYS, FIT_DAYS = 250, 250, 2500
PATHS = 1000
"""That are drawn for a forecast of several days, seeded."""
_PERCENT = 100
"""arch wants returns of about this scale."""
_PERSISTENCE, _DEGREES = 0.9999, 2.05
_PARAMETERS = ("mu", "omega", "alpha[1]", "gamma[1]", "beta[1]", "nu")


@dataclass(frozen=True)
class _Fit:
    """Parameters for returns in per cent; the variance of the day after the last one fitted, and past residuals."""

    mu: float
    omega: float
    alpha: float
    gamma: float
    beta: float
    nu: float

    def is_sane(self, past: Doubles) -> bool:
        """Whether a stationary process near the data came out: the optimizer reports success for others, too."""
        persistence = self.alpha + self.gamma / 2 + self.beta
        return bool(
            np.isfinite([self.mu, self.omega, persistence, self.nu]).all()
            and abs(self.mu) <= np.std(past)
            and self.omega > 0
            and persistence < _PERSISTENCE
            and self.nu > _DEGREES
        )

    def next_variance(self, variance: float, residual: float) -> float:
        return self.omega + (self.alpha + self.gamma * (residual < 0)) * residual**2 + self.beta * variance


@dataclass(frozen=True)
class _Residuals:
    """The distribution of a fit's standardised residuals: its quantiles, and draws of any shape from it."""

    quantiles: Doubles
    draw: Callable[[np.random.Generator, tuple[int, ...]], Doubles]


def garch_t(returns: Doubles, levels: Sequence[float], horizon: int = 1) -> Doubles:
    """
    GARCH(1,1) with a constant mean and Student's t.

    Args:
        returns: Log returns of one series, oldest first. Shape ``(T,)``.
        levels: Quantile levels, ascending; Q of them.
        horizon: Days ahead. For more than one, paths are drawn, after each ``horizon``-th return alone.

    Returns:
        Quantiles of the return over the days that follow each one, NaN before there are 250 of them. Shape ``(T, Q)``.
    """
    from scipy.stats import t as student  # noqa: PLC0415 - only those who measure need it

    def residuals(fit: _Fit, _past: Doubles) -> _Residuals:
        unit = np.sqrt((fit.nu - 2) / fit.nu)
        return _Residuals(student.ppf(levels, fit.nu) * unit, lambda rng, shape: rng.standard_t(fit.nu, shape) * unit)

    return _forecasts(returns, levels, horizon, asymmetric=False, residuals=residuals)


def gjr_fhs(returns: Doubles, levels: Sequence[float], horizon: int = 1) -> Doubles:
    """GJR-GARCH(1,1)-t as the filter, and its own residuals; arguments and result as for `garch_t`."""

    def residuals(_fit: _Fit, past: Doubles) -> _Residuals:
        return _Residuals(np.quantile(past, levels), lambda rng, shape: rng.choice(past, shape))

    return _forecasts(returns, levels, horizon, asymmetric=True, residuals=residuals)


def _forecasts(
    returns: Doubles,
    levels: Sequence[float],
    horizon: int,
    *,
    asymmetric: bool,
    residuals: Callable[[_Fit, Doubles], _Residuals],
) -> Doubles:
    forecasts, rng = np.full((len(returns), len(levels)), np.nan), np.random.default_rng(0)
    for start, past, fit in _fits(_PERCENT * returns, asymmetric=asymmetric):
        before = _variances(fit, past)
        found = residuals(fit, (past - fit.mu) / np.sqrt(before[:-1]))
        days = np.arange(start - 1, min(len(returns), start - 1 + REFIT_DAYS))  # a forecast is made after their returns
        variances = np.empty(len(days))
        variance = variances[0] = before[-1]
        for place, day in enumerate(days[1:].tolist(), 1):
            variance = variances[place] = fit.next_variance(variance, _PERCENT * returns[day] - fit.mu)
        if horizon == 1:
            forecasts[days] = (fit.mu + np.sqrt(variances)[:, None] * found.quantiles) / _PERCENT
        else:
            asked = (days - (FIRST_FIT_DAYS - 1)) % horizon == 0
            sums = _drawn(fit, variances[asked], found.draw(rng, (horizon, int(asked.sum()), PATHS)))
            forecasts[days[asked]] = np.quantile(sums, levels, axis=1).T / _PERCENT
    return forecasts


def _drawn(fit: _Fit, variances: Doubles, shocks: Doubles) -> Doubles:
    """Returns over H days of paths from their first days' variances. Shapes ``(N,)``, ``(H, N, P)`` and ``(N, P)``."""
    variance, total = np.broadcast_to(variances[:, None], shocks.shape[1:]), np.zeros(shocks.shape[1:])
    for shock in shocks:
        residual = np.sqrt(variance) * shock
        total += fit.mu + residual
        variance = fit.omega + (fit.alpha + fit.gamma * (residual < 0)) * residual**2 + fit.beta * variance
    return total


def _fits(returns: Doubles, *, asymmetric: bool) -> Iterator[tuple[int, Doubles, _Fit]]:
    """Each number of days after which a fit is made, the days that it reads, and the fit."""
    fit = None
    for start in range(FIRST_FIT_DAYS, len(returns) + 1, REFIT_DAYS):
        past = returns[max(0, start - FIT_DAYS) : start]
        fit = _fitted(past, asymmetric=asymmetric, before=fit)
        yield start, past, fit


def _fitted(past: Doubles, *, asymmetric: bool, before: _Fit | None) -> _Fit:
    """
    The best fit; where none is sane, the one before it, and at first what daily returns usually have.

    arch's optimizer starts from a grid; where that leads nowhere it is tried from the usual parameters.
    """
    usual = _usual(past)
    if np.ptp(past) == 0:
        return usual
    from arch import arch_model  # noqa: PLC0415 - only those who measure need it

    model = arch_model(past, mean="Constant", vol="GARCH", p=1, o=int(asymmetric), q=1, dist="t", rescale=False)
    starts = [None, [getattr(usual, name) for name in _fields(asymmetric=asymmetric)]]
    for start in starts:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of convergence, which is_sane judges
            found = model.fit(disp="off", show_warning=False, starting_values=start)
        fit = _Fit(*(float(found.params.get(name, 0)) for name in _PARAMETERS))
        if found.convergence_flag == 0 and fit.is_sane(past):
            return fit
    return before or usual


def _fields(*, asymmetric: bool) -> list[str]:
    return [name for name in ("mu", "omega", "alpha", "gamma", "beta", "nu") if asymmetric or name != "gamma"]


def _usual(past: Doubles) -> _Fit:
    variance = max(float(np.var(past)), 1e-8)
    return _Fit(float(np.mean(past)), 0.03 * variance, 0.05, 0.02, 0.91, 5.0)


def _variances(fit: _Fit, past: Doubles) -> Doubles:
    """Variances of the days fitted and of the day after them, from the days' own mean square on. Shape ``(N + 1,)``."""
    residuals = (past - fit.mu).tolist()
    variances = np.empty(len(past) + 1)
    variance = variances[0] = max(float(np.mean((past - fit.mu) ** 2)), 1e-12)
    for day, residual in enumerate(residuals):
        variance = variances[day + 1] = fit.next_variance(variance, residual)
    return variances
