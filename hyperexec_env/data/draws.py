"""Joint draws of what a calibration measures: the posterior that `hyperexec calibrate` and `hyperexec measure` write.

Numbers from one source are drawn together, from the same resamples of its sessions or blocks; numbers from different sources
are drawn independently.

    bars              adv, volatility                                   blocks of sessions
    tape              half-spread, lambda, gamma, flow share, and       blocks of half an hour, or sessions
                      the volatility that turns lambda into multiples
    tape              resilience, and gamma at that resilience          the same blocks; where the tape does not identify
                                                                        it, the profile-likelihood interval of each resample
    public tapes      lambda, gamma, resilience, flow share             their ranges
    Almgren (2005)    alpha, beta                                       their standard errors
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.posterior import Posterior, stated_by
from hyperexec_env.market.published import ALMGREN_2005, PUBLIC_TAPES
from hyperexec_env.market.scenario import MULTIPLES, Scenario

from .blocks import resampled_days
from .figures import SEED, Samples
from .impact import (
    CHI2_95,
    FEW_DAYS,
    Decay,
    block_seconds,
    decay_grid,
    decay_products,
    decay_slopes,
    quoted_of,
    response_products,
    response_slope,
    volatility_seconds,
)
from .numbers import rounded
from .tape import Flow, Tape, flow_of
from .temporary import Temporary
from .zones import SECOND

__all__ = [
    "DRAWS",
    "TapeDraws",
    "draws_of_bars",
    "draws_of_tape",
    "public_draws",
    "published_draws",
    "with_bar_draws",
    "with_draws",
    "with_order_draws",
    "with_tape_draws",
]

Floats = NDArray[np.float64]

DRAWS: Final = 64
"""Number of draws of a posterior: an end of a 95 % interval then has an error of about a seventh of its width."""
_IMPACT: Final = {*MULTIPLES, *MULTIPLES.values()}
_STRIDE: Final = 1_000_000
"""More than the number of blocks of a day."""


class TapeDraws(NamedTuple):
    """Draws from the blocks of a tape, each of shape (draws,); row i of every field is from resample i."""

    half_spread_bps: Floats
    """Mean quoted half-spread."""
    volatility: Floats
    """Volatility of the tape, fraction per square root of a day."""
    kyle_lambda: Floats
    """Arrival prices for one ADV, 0 or larger."""
    perm_impact_gamma: Floats
    """Arrival prices for one ADV, between 0 and lambda."""
    resilience: Floats
    """Per day."""
    flow_share: Floats
    """R^2; 0 where lambda is 0."""


def with_draws(scenario: Scenario, columns: Mapping[str, Floats], text: str, given: Iterable[str] = ()) -> Scenario:
    """Return a scenario with the draws of some fields, in place of earlier draws of these fields.

    Args:
        scenario: The scenario; the draws of fields that it does not state are left out.
        columns: Draws by field.
        text: Provenance of the draws.
        given: Fields that the user states, which have no draws.
    """
    before = {} if scenario.posterior is None else scenario.posterior.to_dict()
    every = {**before, **{name: [rounded(value, 5) for value in column] for name, column in columns.items()}}
    stated = {*given}
    if stated & _IMPACT:  # lambda and gamma are drawn together
        stated |= _IMPACT
    kept = {name: every[name] for name in stated_by(scenario) if name in every and name not in stated}
    posterior = Posterior.of(kept) if kept else None
    return replace(scenario, posterior=posterior, provenance={**scenario.provenance, "posterior": text})


def draws_of_bars(samples: Samples) -> dict[str, Floats]:
    """Return joint draws of volatility and, where the bars have a volume, ADV, from the sessions of bars.

    The draws are the estimates of resampled sessions, whose dispersion is the standard error that a calibration states.
    """
    chosen = resampled_days(len(samples.variance), DRAWS, SEED)
    volatility = np.sqrt(samples.variance[chosen].mean(axis=1))
    volume = samples.volume.sum(axis=1)[chosen].mean(axis=1)
    return {"volatility": volatility, **({"adv": volume} if samples.has_volume else {})}


def public_draws() -> dict[str, Floats]:
    """Return draws of impact over the ranges of public tapes, and of temporary impact with its published error.

    Lambda (in daily volatilities) and resilience are log-uniform over their ranges, gamma over lambda and the flow share
    uniform; the four are independent, because three tapes do not show how they vary together.
    """
    rng = np.random.default_rng([SEED, 1])
    lambda_, share, resilience, flow = (PUBLIC_TAPES[name][1:] for name in PUBLIC_TAPES)
    kyle = _log_uniform(*lambda_, _strata(rng))
    return {
        "kyle_multiple": kyle,
        "perm_impact_multiple": kyle * (share[0] + (share[1] - share[0]) * _strata(rng)),
        "resilience": _log_uniform(*resilience, _strata(rng)),
        "flow_share": flow[0] + (flow[1] - flow[0]) * _strata(rng),
        **published_draws(),
    }


def published_draws() -> dict[str, Floats]:
    """Return draws of temporary impact: normal with the published standard errors, independent, positive."""
    rng = np.random.default_rng([SEED, 2])
    drawn = {name: value + error * rng.standard_normal(DRAWS) for name, (value, error) in ALMGREN_2005.items()}
    return {name: np.maximum(column, 1e-3) for name, column in drawn.items()}


def _strata(rng: np.random.Generator) -> Floats:
    """Return uniform numbers in random order, one in each of :data:`DRAWS` equal parts of (0, 1)."""
    return np.asarray((rng.permutation(DRAWS) + rng.random(DRAWS)) / DRAWS)


def _log_uniform(low: Any, high: Any, uniform: Floats) -> Floats:
    """Return log-uniform draws of a range, given uniform numbers in (0, 1)."""
    return np.asarray(low * (high / low) ** uniform)


def draws_of_tape(tape: Tape, seconds: float, decay: Decay, resilience: float) -> TapeDraws:
    """Return joint draws of spread, volatility and impact from the blocks of a tape.

    Every resample draws whole blocks, for all figures the same. Deviations from the estimate are scaled by the root of
    n / (n - 1) for n blocks, as the standard errors of :mod:`~hyperexec_env.data.impact` are.

    Args:
        tape: The tape.
        seconds: Scale of the response to flow that gives lambda.
        decay: Permanent and transient part, from the same tape.
        resilience: The resilience of the scenario, which the draws include.
    """
    moves = volatility_seconds(tape)
    length = max(block_seconds(tape), seconds, decay.seconds, moves)
    response, fine, coarse = (flow_of(tape, scale) for scale in (seconds, decay.seconds, moves))
    spread = [np.stack([bps * valid, valid], axis=1) for bps, valid in map(quoted_of, tape.days)]
    move = np.stack([coarse.move**2, np.full(len(coarse.move), moves / (60.0 * tape.day_minutes))], axis=1)
    labels = _blocks_of_flow(tape, response, length)
    blocks = np.unique(np.concatenate([labels, _blocks_of_flow(tape, fine, length)]))
    weights = np.random.default_rng([SEED, 3]).multinomial(len(blocks), np.full(len(blocks), 1.0 / len(blocks)), size=DRAWS)
    resampled = _Resampled(blocks, np.concatenate([np.ones((1, len(blocks))), weights]))
    quoted = resampled.totals(_blocks_of_quotes(tape, length), np.concatenate(spread))
    squares = resampled.totals(_blocks_of_flow(tape, coarse, length), move)
    slopes = np.array([response_slope(total) for total in resampled.totals(labels, response_products(response))])
    rho, gamma = _decay_draws(tape, fine, _blocks_of_flow(tape, fine, length), resampled, decay, resilience)
    kyle = np.maximum(resampled.scaled(slopes[:, 0]), 0.0)
    return TapeDraws(
        half_spread_bps=np.maximum(resampled.scaled(_ratio(quoted)), 0.0),
        volatility=_positive(resampled.scaled(np.sqrt(_ratio(squares)))),
        kyle_lambda=kyle,
        perm_impact_gamma=np.clip(gamma, 0.0, kyle),
        resilience=rho,
        flow_share=np.where(kyle > 0.0, np.clip(resampled.scaled(slopes[:, 2]), 0.0, 1.0), 0.0),
    )


class _Resampled(NamedTuple):
    """Resamples of blocks: row 0 has every block once, which gives the estimate, the other rows give the draws."""

    blocks: NDArray[np.int64]
    """Labels of the blocks, ascending."""
    weights: Floats
    """How often each row has each block, shape (1 + draws, blocks)."""

    def totals(self, labels: NDArray[np.int64], terms: Floats) -> Floats:
        """Return the sums of terms over each row, shape (1 + draws, terms), given the block of each term."""
        place = np.minimum(np.searchsorted(self.blocks, labels), len(self.blocks) - 1)
        sums = np.stack([np.bincount(place, column, len(self.blocks)) for column in terms.T], axis=1)
        return np.asarray(self.weights @ sums)

    def scaled(self, found: Floats) -> Floats:
        """Return the draws of a figure, given the estimate and the figures of the resamples, shape (1 + draws,)."""
        count = len(self.blocks)
        return np.asarray(found[0] + math.sqrt(count / max(count - 1, 1)) * (found[1:] - found[0]))


def _decay_draws(
    tape: Tape, flow: Flow, labels: NDArray[np.int64], resampled: _Resampled, decay: Decay, resilience: float
) -> tuple[Floats, Floats]:
    """Return draws of the resilience, and of gamma in the same resamples at that resilience.

    Where the tape identifies the resilience, its draw is the most likely value of the resample. Else the draw is log-uniform
    over the 95 % profile-likelihood interval of the resample, enlarged to the scenario's value.
    """
    tau = decay.seconds / (60.0 * tape.day_minutes)
    grid = decay_grid(tau)
    totals = np.stack([resampled.totals(labels, decay_products(flow, rho, tau)) for rho in grid], axis=1)
    fits = decay_slopes(totals)  # (1 + draws, resilience, 3)
    ratio = len(flow.move) * np.log(fits[..., 2] / fits[..., 2].min(axis=1, keepdims=True))
    if decay.identified:
        nearest = ratio[1:].argmin(axis=1)
        rho = grid[nearest]
    else:
        inside = ratio[1:] <= CHI2_95
        last = len(grid) - 1 - inside[:, ::-1].argmax(axis=1)
        low, high = np.minimum(grid[inside.argmax(axis=1)], resilience), np.maximum(grid[last], resilience)
        rho = _log_uniform(low, high, _strata(np.random.default_rng([SEED, 4])))
        nearest = np.abs(np.log(grid)[:, None] - np.log(rho)).argmin(axis=0)
    around = fits[0, ratio[0].argmin(), 0]
    return rho, resampled.scaled(np.append(around, fits[np.arange(1, DRAWS + 1), nearest, 0]))


def _ratio(totals: Floats) -> Floats:
    """Return the ratio of two sums."""
    return np.asarray(totals[:, 0] / np.maximum(totals[:, 1], 1e-300))


def _positive(volatility: Floats) -> Floats:
    """Return draws of the volatility with those that are not positive replaced by the least positive one.

    In a tape of a few minutes a resample may hold no move of the mid.
    """
    least = volatility[volatility > 0.0].min(initial=np.inf)
    return np.where(volatility > 0.0, volatility, least if np.isfinite(least) else 1e-12)


def _blocks_of_flow(tape: Tape, flow: Flow, length: float) -> NDArray[np.int64]:
    """Return the block of each interval: its day, or a part of `length` seconds of the day where the tape has few days."""
    if len(tape.days) >= FEW_DAYS:
        return flow.day
    within = np.concatenate([np.arange(count) for count in np.bincount(flow.day)])
    return np.asarray(flow.day * _STRIDE + (within * flow.seconds // length).astype(np.int64))


def _blocks_of_quotes(tape: Tape, length: float) -> NDArray[np.int64]:
    """Return the block of each quote of all days."""
    whole = len(tape.days) >= FEW_DAYS
    parts = [
        number + np.zeros(len(day.quote_time), np.int64)
        if whole
        else number * _STRIDE + np.maximum(day.quote_time - day.start, 0) // round(length * SECOND)
        for number, day in enumerate(tape.days)
    ]
    return np.concatenate(parts)


def with_bar_draws(scenario: Scenario, samples: Samples, given: Iterable[str]) -> Scenario:
    """Return a scenario that is calibrated to bars with its draws; impact has those of public tapes.

    Args:
        scenario: The scenario.
        samples: The samples of the bars.
        given: Fields that the user states, which have no draws.
    """
    names = "volatility and daily volume" if samples.has_volume else "volatility"
    text = (
        f"{DRAWS} joint draws: {names} of resampled sessions (moving blocks, Kuensch 1989); lambda and resilience log-uniform, "
        "gamma over lambda and flow_share uniform over the ranges of public tapes; temporary impact normal with its published "
        "standard errors"
    )
    return with_draws(scenario, {**draws_of_bars(samples), **public_draws()}, text, given)


def with_order_draws(scenario: Scenario, found: Temporary) -> Scenario:
    """Return a scenario whose temporary impact is that of a desk's own orders, with draws of it.

    Alpha and beta are normal with their standard errors. Their correlation is that of a normal law whose alpha has, at a known
    beta, the smaller error that the fit states: a larger exponent goes with a larger alpha, because participation is below one.
    Where the orders give the permanent impact, lambda keeps the range of public tapes, but is at least the permanent impact.
    """
    fit, columns, rng = found.fit, dict[str, Floats](), np.random.default_rng([SEED, 5])
    first, second, third = rng.standard_normal((3, DRAWS))
    if fit.identified:
        known = fit.alpha_at_published_beta
        narrowed = min(known.error / known.value * fit.alpha.value / max(fit.alpha.error, 1e-12), 1.0)
        beta = fit.beta.value + fit.beta.error * first
        alpha = fit.alpha.value + fit.alpha.error * (math.sqrt(1.0 - narrowed**2) * first + narrowed * second)
        columns |= {"temp_impact_alpha": np.maximum(alpha, 1e-3), "temp_impact_beta": np.clip(beta, 1e-2, 2.0)}
    elif fit.differs:
        alpha = fit.alpha_at_published_beta.value + fit.alpha_at_published_beta.error * second
        columns |= {"temp_impact_alpha": np.maximum(alpha, 1e-3)}
        columns |= {"temp_impact_beta": published_draws()["temp_impact_beta"]}
    drawn = () if scenario.posterior is None else scenario.posterior.names
    if found.gamma is not None and "kyle_multiple" not in drawn and scenario.kyle_multiple is not None:
        gamma = np.maximum(found.gamma.value + found.gamma.error * third, 0.0) / scenario.volatility
        columns |= {"perm_impact_multiple": gamma, "kyle_multiple": np.maximum(public_draws()["kyle_multiple"], gamma)}
    if not columns:
        return scenario
    text = f"{scenario.provenance.get('posterior', '')}; {', '.join(columns)} of {found.orders:,} own orders, normal"
    return with_draws(scenario, columns, text)


def with_tape_draws(
    scenario: Scenario, tape: Tape, seconds: float, decay: Decay, volatility: float, scale: float, given: Iterable[str]
) -> Scenario:
    """Return a measured scenario with its draws; volatility and ADV keep those of the bars to which it is calibrated.

    Args:
        scenario: The scenario.
        tape: The tape that gives spread and impact.
        seconds: Scale of the response to flow that gives lambda.
        decay: Permanent and transient part, from the tape.
        volatility: Volatility of the tape, fraction per square root of a day.
        scale: Volatility in which the impact of the scenario is stated.
        given: Fields that the user states, which have no draws.
    """
    drawn = draws_of_tape(tape, seconds, decay, scenario.resilience)
    unit = drawn.volatility * (scale / volatility)
    columns = {
        "half_spread_bps": drawn.half_spread_bps,
        "kyle_multiple": drawn.kyle_lambda / unit,
        "perm_impact_multiple": drawn.perm_impact_gamma / unit,
        "resilience": drawn.resilience,
        "flow_share": drawn.flow_share,
        **published_draws(),
    }
    calibrated = scenario.posterior is not None
    other = "volatility and daily volume of resampled sessions, independent of the tape"
    if not calibrated:
        columns["volatility"] = drawn.volatility
        other = "volatility of the same blocks; the daily volume of one session has no error and no draws"
    law = "the most likely one of the resample"
    if not decay.identified:
        law = "log-uniform over the 95 % profile-likelihood interval of the resample, because the tape does not identify it"
    text = (
        f"{DRAWS} joint draws: spread, lambda (in the volatility of the draw), gamma and flow_share of resampled blocks of the "
        f"tape; resilience {law}, with the gamma that belongs to it; {other}; "
        "temporary impact normal with its published standard errors"
    )
    return with_draws(scenario, columns, text, given)
