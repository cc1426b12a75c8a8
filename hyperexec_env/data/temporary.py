r"""Temporary impact from a desk's own orders: a power law of the participation, by the method of Almgren et al. (2005).

An order of side :math:`s` and :math:`X` shares trades :math:`n` times at an even pace over a span :math:`D`. With the mid
:math:`S_0` before its first fill, the average price :math:`\bar S`, and the mid :math:`S_\mathrm{post}` some time :math:`A`
after its last fill, Almgren, Thum, Hauptmann and Li (2005, section 3) define the permanent and the realised impact

.. math:: I = s (S_\mathrm{post} - S_0) / S_0, \qquad J = s (\bar S - S_0) / S_0,

and :math:`J - I / 2` holds the temporary impact alone where the permanent impact is linear. In the market of a scenario, with
:math:`q = X / \mathrm{ADV}`, participation :math:`v`, half-spread :math:`c` and daily volatility :math:`\sigma`,

.. math::
    J &= c + \gamma q / 2 + \kappa q \varphi + \alpha \sigma v^\beta + \sigma \sqrt{D (2 n - 1) / (6 n)}\, \xi, \\
    I &= \gamma q + \kappa q \psi + \sigma \sqrt{D + A}\, \chi, \qquad \mathrm{Cov}(J, I) = \sigma^2 D / 2.

:math:`\varphi` is the mean share of the transient impact that the children pay, and :math:`\psi` the share that is left at
the time of :math:`S_\mathrm{post}`. For many children the variance of :math:`J` is :math:`\sigma^2 D / 3`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.published import ALMGREN_2005, public_impact
from hyperexec_env.market.scenario import Scenario

from .impact import BLOCK_SECONDS, FEW_DAYS, Figure, figure_of, profile_interval, resampling_weights, student_quantile
from .numbers import rounded
from .zones import SECOND, Nanoseconds

__all__ = [
    "AFTER_SECONDS",
    "LEAST_ORDERS",
    "KnownImpact",
    "Orders",
    "PowerLaw",
    "Temporary",
    "gamma_used",
    "linear_parts",
    "temporary_of",
    "with_orders",
]

Floats = NDArray[np.float64]

AFTER_SECONDS: Final = 1800.0
"""Time from the last fill to the mid of the permanent impact, seconds (half an hour in Almgren et al. 2005)."""
LEAST_ORDERS: Final = 20
"""Number of orders below which temporary impact is not estimated."""
PUBLISHED_BETA: Final = ALMGREN_2005["temp_impact_beta"][0]
"""Exponent at which alpha is given beside the fit."""
_BETAS: Final = np.linspace(0.0, 2.0, 401)
"""Exponents that are tried: the range of a scenario."""
_SPAN: Final = 100.0
"""Factor by which the values of alpha that are tried reach below and above the best one."""


class Orders(NamedTuple):
    """Orders of one instrument, each within one session; arrays have shape (order,)."""

    day: NDArray[np.int64]
    """Session of each order."""
    start: Nanoseconds
    """First fill, UTC."""
    shares: Floats
    """Filled shares."""
    participation: Floats
    """Filled shares over the volume of the market at the same time."""
    seconds: Floats
    """Trading time from the first to the last fill."""
    moments: Floats
    """Number of distinct times of fills, at least 2."""
    cost: Floats
    """J: average price less mid before the first fill, times the side, over that mid."""
    move: Floats
    """I: mid :data:`AFTER_SECONDS` after the last fill less mid before the first fill, times the side, over that mid; NaN where
    the session ends before."""
    left_out: dict[str, int]
    """Orders that are left out, by reason."""
    sources: tuple[str, ...]
    """Sentences on the executions and on the market that they are compared with."""


class KnownImpact(NamedTuple):
    """What is known of a market besides its temporary impact."""

    volatility: float
    """Fraction per square root of a day."""
    half_spread_bps: float
    kyle_lambda: float
    """Permanent and transient impact, arrival prices for one ADV."""
    gamma: float
    """Permanent impact, arrival prices for one ADV."""
    resilience: float
    """Recovery of the transient impact, per day."""
    adv: float
    """Shares a day."""
    day_minutes: float
    is_measured: bool
    """Whether gamma is that of the tape; otherwise the orders give it, and J - I/2 takes the place of J."""


class PowerLaw(NamedTuple):
    """Regression y = alpha v^beta with known relative variances, by generalised least squares."""

    alpha: Figure
    """Impact at a participation of one, daily volatilities; error by block bootstrap, interval by profile likelihood."""
    beta: Figure
    """Exponent; the ends of its interval are 0 and infinity where the data set no bound between 0 and 2."""
    alpha_robust: float
    """Standard error of alpha that heteroscedasticity and the dependence within a block do not distort (White 1980)."""
    beta_robust: float
    """The same of beta."""
    alpha_at_published_beta: Figure
    """Alpha where beta is that of Almgren et al. (2005)."""
    scale: float
    """Root mean square of the residuals over their size by the volatility; 1 where the volatility explains them."""

    def __str__(self) -> str:
        """Return alpha and beta with errors and intervals."""
        high = "no upper bound" if math.isinf(self.beta.high) else f"{self.beta.high:.3g}"
        state = "identified" if self.identified else "beta not identified" if self.differs else "no temporary impact identified"
        return (
            f"alpha {self.alpha} (robust {self.alpha_robust:.2g}, 95 % {self.alpha.low:.3g} to {self.alpha.high:.3g}), "
            f"beta {self.beta} (robust {self.beta_robust:.2g}, 95 % {self.beta.low:.3g} to {high}): {state}; "
            f"alpha at beta {PUBLISHED_BETA:g}: {self.alpha_at_published_beta}"
        )

    @property
    def differs(self) -> bool:
        """Whether the orders have a temporary impact that differs from zero."""
        return self.alpha_at_published_beta.low > 0.0

    @property
    def identified(self) -> bool:
        """Whether the interval of beta is bounded on both sides."""
        return self.differs and self.beta.low > 0.0 and self.beta.high < math.inf


class Temporary(NamedTuple):
    """Temporary and permanent impact of a desk's own orders; `str` shows it as text."""

    fit: PowerLaw
    """From J less half-spread, permanent and transient impact; from J - I/2 where gamma is not that of the tape."""
    check: PowerLaw | None
    """From J - I/2 beside the fit; None where the fit is that, and without enough orders that have an I."""
    gamma: Figure | None
    """Permanent impact from I, arrival prices for one ADV; None without enough orders that have an I."""
    orders: int
    """Orders of the fit."""
    days: int
    """Sessions of these orders."""
    participation: tuple[float, float, float]
    """Participation: 5 % quantile, median, 95 % quantile."""
    left_out: dict[str, int]
    """Orders that are left out, by reason."""
    sources: tuple[str, ...]

    def __str__(self) -> str:
        """Return the impact as text."""
        low, middle, high = self.participation
        method = "J - I/2" if self.check is None else "J less half-spread, permanent and transient part"
        lines = [
            f"temporary impact of {self.orders:,} own orders of {self.days} sessions, participation {middle:.2%} "
            f"({low:.2%} to {high:.2%})",
            *(f"  {count:,} orders left out: {reason}" for reason, count in self.left_out.items()),
            f"  from {method}: {self.fit}",
            f"  residuals are {self.fit.scale:.2f} of what the volatility explains",
        ]
        lines += [f"  from J - I/2: {self.check}"] if self.check else []
        lines += [f"  gamma of the orders {self.gamma}"] if self.gamma else []
        return "\n".join([*lines, *(f"  {source}" for source in self.sources)])


def temporary_of(orders: Orders, known: KnownImpact) -> Temporary:
    """Return the temporary impact of orders.

    Args:
        orders: The orders.
        known: Volatility, spread and linear impact of their market.

    Raises:
        ValueError: There are fewer than :data:`LEAST_ORDERS` orders, or all have the same participation.
    """
    complete = np.isfinite(orders.move)
    left_out = dict(orders.left_out)
    if not known.is_measured and not complete.all():
        left_out["the session ends before the price after them is known"] = int((~complete).sum())
        orders, complete = _chosen(orders, complete), complete[complete]
    _check_orders(orders, left_out)
    gamma, difference = None, None
    if complete.sum() >= LEAST_ORDERS:
        part = _chosen(orders, complete)
        gamma = _permanent(part, known)
        difference = _power_law(part, *_without_permanent(part, known._replace(gamma=gamma_used(gamma, known))))
    fit = difference if difference and not known.is_measured else _power_law(orders, *_without_known(orders, known))
    low, middle, high = np.quantile(orders.participation, (0.05, 0.5, 0.95)).tolist()
    return Temporary(
        fit,
        difference if known.is_measured else None,
        gamma,
        len(orders.cost),
        len(np.unique(orders.day)),
        (low, middle, high),
        left_out,
        orders.sources,
    )


def gamma_used(found: Figure | None, known: KnownImpact) -> float:
    """Return the gamma of a market: that of the tape; else that of the orders, between 0 and lambda, if it differs from 0."""
    if known.is_measured or found is None or found.low <= 0.0:
        return known.gamma
    return min(found.value, known.kyle_lambda)


def _check_orders(orders: Orders, left_out: dict[str, int]) -> None:
    """Raise ValueError if there are too few orders, or none of another participation."""
    count = len(orders.cost)
    if count < LEAST_ORDERS:
        reasons = "; ".join(f"{number:,} left out: {reason}" for reason, number in left_out.items())
        raise ValueError(
            f"fills: temporary impact needs at least {LEAST_ORDERS} orders, got {count:,}{f' ({reasons})' if reasons else ''}"
        )
    if np.ptp(orders.participation) <= 1e-9 * orders.participation.max():
        same = f"all {count:,} orders have the participation {orders.participation[0]:.3g}"
        raise ValueError(f"fills: {same}: alpha and beta need orders of several participations")


def _chosen(orders: Orders, chosen: NDArray[np.bool_]) -> Orders:
    """Return some orders."""
    taken: dict[str, Any] = {name: value[chosen] for name, value in orders._asdict().items() if isinstance(value, np.ndarray)}
    return orders._replace(**taken)


def paid_share(moments: Floats, span: Floats, resilience: float) -> Floats:
    r"""Return the mean share of the transient impact that equal children at equal intervals pay, shape (order,).

    Each child pays half of its own impact, and what is left of that of the earlier ones: with the decay :math:`a` over an
    interval, :math:`\varphi = (1/2 + \sum_{j=1}^{n-1} (1 - j/n) a^j) / n`, which tends to
    :math:`1/(\rho D) - (1 - e^{-\rho D}) / (\rho D)^2` for many children.

    Args:
        moments: Number of children n.
        span: Time from the first to the last child D, days.
        resilience: Recovery rho, per day.
    """
    a, left = _decay(moments, span, resilience)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = (moments * a - a * left) / (1.0 - a)
    sums = np.where(1.0 - a < 1e-9, 0.5 * moments * (moments - 1.0), sums)
    return np.asarray((0.5 + sums / moments) / moments)


def kept_share(moments: Floats, span: Floats, resilience: float, after: float) -> Floats:
    """Return the share of the transient impact of equal children that is left some days after the last, shape (order,)."""
    _, left = _decay(moments, span, resilience)
    return np.asarray(left / moments * math.exp(-resilience * after))


def _decay(moments: Floats, span: Floats, resilience: float) -> tuple[Floats, Floats]:
    """Return the decay over the interval between children, and the sum of its powers from 0 to n - 1."""
    rate = resilience * span / np.maximum(moments - 1.0, 1.0)
    a = np.exp(-rate)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = -np.expm1(-rate * moments) / -np.expm1(-rate)
    return a, np.where(rate < 1e-9, moments, left)


def linear_parts(orders: Orders, known: KnownImpact) -> tuple[Floats, Floats, Floats, Floats]:
    """Return q, the span in days, and the shares of the transient impact in J and in I."""
    span = orders.seconds / (60.0 * known.day_minutes)
    q = orders.shares / known.adv
    after = AFTER_SECONDS / (60.0 * known.day_minutes)
    paid = paid_share(orders.moments, span, known.resilience)
    return q, span, paid, kept_share(orders.moments, span, known.resilience, after)


def _without_known(orders: Orders, known: KnownImpact) -> tuple[Floats, Floats]:
    """Return the temporary part of J in daily volatilities, and its variance in days."""
    q, span, paid, _ = linear_parts(orders, known)
    linear = 0.5 * known.gamma + (known.kyle_lambda - known.gamma) * paid
    rest = orders.cost - 1e-4 * known.half_spread_bps - q * linear
    return rest / known.volatility, span * (2.0 * orders.moments - 1.0) / (6.0 * orders.moments)


def _without_permanent(orders: Orders, known: KnownImpact) -> tuple[Floats, Floats]:
    """Return J - I/2 less half-spread and transient part, in daily volatilities, and its variance in days."""
    q, span, paid, kept = linear_parts(orders, known)
    transient = (known.kyle_lambda - known.gamma) * (paid - 0.5 * kept)
    rest = orders.cost - 0.5 * orders.move - 1e-4 * known.half_spread_bps - q * transient
    own = span * (2.0 * orders.moments - 1.0) / (6.0 * orders.moments)
    after = AFTER_SECONDS / (60.0 * known.day_minutes)
    return rest / known.volatility, own - 0.25 * span + 0.25 * after


def _permanent(orders: Orders, known: KnownImpact) -> Figure:
    """Return gamma from I = gamma q + (lambda - gamma) q psi, by generalised least squares."""
    q, span, _, kept = linear_parts(orders, known)
    y, x = orders.move - known.kyle_lambda * q * kept, q * (1.0 - kept)
    weight = 1.0 / (span + AFTER_SECONDS / (60.0 * known.day_minutes))
    return _slope(_by_block(_blocks(orders), np.stack([weight * x * x, weight * x * y, weight * y * y], axis=1)), len(y))


def _slope(sums: Floats, count: int) -> Figure:
    """Return the slope y = slope x by generalised least squares, from sums over blocks of w x x, w x y and w y y.

    The standard error is that of the block bootstrap, or that of independent orders if it is larger: where few large orders
    decide, the robust error is biased downwards (Chesher and Jewitt 1987).
    """
    total, found = sums.sum(axis=0), resampling_weights(len(sums)) @ sums
    plain = math.sqrt(float(_residual(total)) / max(count - 1, 1) / total[0])
    return figure_of(total[1] / total[0], found[:, 1] / np.maximum(found[:, 0], 1e-300), len(sums), least=plain)


def _blocks(orders: Orders) -> NDArray[np.int64]:
    """Return the block of each order: its session, or a half-hour of it where there are few sessions."""
    many = len(np.unique(orders.day)) >= FEW_DAYS
    key = orders.day if many else orders.start // round(BLOCK_SECONDS * SECOND)
    return np.asarray(np.unique(key, return_inverse=True)[1])


def _by_block(block: NDArray[np.int64], terms: Floats) -> Floats:
    """Return the sums of terms over blocks, shape (block, term)."""
    return np.stack([np.bincount(block, column) for column in terms.T], axis=1)


def _power_law(orders: Orders, y: Floats, variance: Floats) -> PowerLaw:
    """Return the regression of temporary parts on participation.

    The likelihood ratios are divided by the ratio of the robust to the plain variance (Kent 1982), because orders of one day
    share the moves of the price, if it is above one: where few large orders decide, it is biased downwards (Chesher and Jewitt
    1987).
    """
    weight, v, block = 1.0 / variance, orders.participation, _blocks(orders)
    count, blocks = len(y), int(block.max()) + 1
    sums = np.stack([_sums_at(beta, weight, v, y, block) for beta in _BETAS])  # (beta, block, 3)
    total = sums.sum(axis=1)
    residual = _residual(total)
    best = int(residual.argmin())
    alpha, beta = total[best, 1] / total[best, 0], float(_BETAS[best])
    ratios = _variance_ratios(alpha, beta, weight, v, y, block)
    limit = student_quantile(blocks - 1) ** 2
    likelihood = count * np.log(residual / residual[best])
    low, high = profile_interval(_BETAS, likelihood / ratios.beta, limit)
    beta_figure = Figure(beta, 0.0, 0.0 if low is None else low, math.inf if high is None else high)
    found = resampling_weights(blocks) @ sums  # (beta, replicate, 3)
    chosen = _residual(found).argmin(axis=0)
    alphas = (found[..., 1] / found[..., 0])[chosen, np.arange(found.shape[1])]
    at_published = int(np.abs(_BETAS - PUBLISHED_BETA).argmin())
    stretch = math.sqrt(blocks / max(blocks - 1, 1))
    return PowerLaw(
        _alpha_figure(alpha, float(alphas.std(ddof=1)) * stretch, total, count, ratios.alpha, limit),
        beta_figure._replace(error=float(_BETAS[chosen].std(ddof=1)) * stretch),
        ratios.alpha_error,
        ratios.beta_error,
        _slope(sums[at_published], count),
        math.sqrt(residual[best] / count),
    )


def _sums_at(beta: float, weight: Floats, v: Floats, y: Floats, block: NDArray[np.int64]) -> Floats:
    """Return the sums of the normal equation at an exponent over blocks, shape (block, 3)."""
    power = v**beta
    return _by_block(block, np.stack([weight * power * power, weight * power * y, weight * y * y], axis=1))


def _residual(total: Floats) -> Floats:
    """Return the weighted sum of squared residuals at the best alpha, from sums of shape (..., 3)."""
    return np.asarray(np.maximum(total[..., 2] - total[..., 1] ** 2 / total[..., 0], 1e-300))


def _alpha_figure(alpha: float, error: float, total: Floats, count: int, ratio: float, limit: float) -> Figure:
    """Return alpha with its interval by profile likelihood over beta; a negative alpha has the interval of its error."""
    if not alpha > 0.0:
        return Figure(float(alpha), error, float(alpha) - math.sqrt(limit) * error, float(alpha) + math.sqrt(limit) * error)
    logs = math.log(alpha) + np.linspace(-math.log(_SPAN), math.log(_SPAN), 801)
    values = np.exp(logs)[:, None]
    residual = (total[:, 2] - 2.0 * values * total[:, 1] + values**2 * total[:, 0]).min(axis=1)
    low, high = profile_interval(logs, count * np.log(residual / residual.min()) / ratio, limit)
    return Figure(float(alpha), error, 0.0 if low is None else math.exp(low), math.inf if high is None else math.exp(high))


class _Ratios(NamedTuple):
    """Robust over plain variance of both parameters, and their robust standard errors."""

    alpha: float
    beta: float
    alpha_error: float
    beta_error: float


def _variance_ratios(alpha: float, beta: float, weight: Floats, v: Floats, y: Floats, block: NDArray[np.int64]) -> _Ratios:
    """Return the ratios of the robust variance, clustered by block, to that of independent orders with the given weights."""
    power = v**beta
    slopes = np.stack([power, alpha * power * np.log(v)], axis=1)
    rest = y - alpha * power
    inverse = np.linalg.pinv((slopes * weight[:, None]).T @ slopes)
    scores = _by_block(block, slopes * (weight * rest)[:, None])
    blocks = len(scores)
    robust = np.diag(inverse @ scores.T @ scores @ inverse) * blocks / max(blocks - 1, 1)
    plain = np.diag(inverse) * float(weight @ rest**2) / (len(y) - 2)
    ratio = np.maximum(robust / np.maximum(plain, 1e-300), 1.0)
    return _Ratios(float(ratio[0]), float(ratio[1]), *np.sqrt(robust).tolist())


def with_orders(base: Scenario, orders: Orders, *, is_measured: bool) -> tuple[Scenario, Temporary, tuple[str, ...]]:
    """Return a scenario with the temporary impact of a desk's own orders, that impact, and a sentence for each choice.

    Where the orders do not identify beta, it keeps its published value, and alpha is that of the orders at this beta; where
    they have no temporary impact that differs from zero, both keep their published values.

    Args:
        base: The scenario, with published temporary impact.
        orders: The orders.
        is_measured: Whether lambda and gamma are those of a tape; otherwise gamma is that of the orders, if they identify it.

    Raises:
        ValueError: See :func:`temporary_of`.
    """
    known = KnownImpact(
        volatility=base.volatility,
        half_spread_bps=base.half_spread_bps,
        kyle_lambda=base.kyle_lambda,
        gamma=base.perm_impact_gamma,
        resilience=base.resilience,
        adv=base.adv,
        day_minutes=base.day_minutes,
        is_measured=is_measured,
    )
    found = temporary_of(orders, known)
    values, texts, moved = _fields_of(found)
    gamma = gamma_used(found.gamma, known)
    if found.gamma and gamma != known.gamma:
        values["perm_impact_multiple"] = gamma / base.volatility
        texts["perm_impact_gamma"] = f"price after {found.orders:,} own orders; standard error {found.gamma.error:.2g}"
        if gamma != found.gamma.value:
            moved.append(f"gamma is moved from {found.gamma.value:.3g} to {gamma:.3g}: it is at most lambda")
    plain: dict[str, Any] = {name: rounded(value, 4) for name, value in values.items()}
    return replace(base, **plain, provenance={**base.provenance, **texts}), found, tuple(moved)


def _fields_of(found: Temporary) -> tuple[dict[str, float], dict[str, str], list[str]]:
    """Return alpha and beta of a scenario, their provenance, and a sentence on what stays published."""
    fit, source, assumed = found.fit, f"{found.orders:,} own orders of {found.days} sessions", public_impact()[1]
    if not fit.differs:
        text = f"{source} do not identify it (alpha {fit.alpha_at_published_beta} at beta {PUBLISHED_BETA:g})"
        texts = {name: f"{assumed[name]}; {text}" for name in ALMGREN_2005}
        return {}, texts, [f"temporary impact keeps its published values: {source} have none that differs from zero"]
    if not fit.identified:
        alpha = fit.alpha_at_published_beta
        high = "no upper bound" if math.isinf(fit.beta.high) else f"{fit.beta.high:.3g}"
        text = f"{source} do not identify it (95 % interval {fit.beta.low:.3g} to {high})"
        texts = {
            "temp_impact_alpha": f"{source} at beta {PUBLISHED_BETA:g}; standard error {alpha.error:.2g}",
            "temp_impact_beta": f"{assumed['temp_impact_beta']}; {text}",
        }
        return {"temp_impact_alpha": alpha.value}, texts, [f"beta keeps its published value: {text}"]
    texts = {
        f"temp_impact_{name}": f"{source}, generalised least squares; standard error {figure.error:.2g}, 95 % interval "
        f"{figure.low:.3g} to {figure.high:.3g} by profile likelihood"
        for name, figure in (("alpha", fit.alpha), ("beta", fit.beta))
    }
    return {"temp_impact_alpha": fit.alpha.value, "temp_impact_beta": fit.beta.value}, texts, []
