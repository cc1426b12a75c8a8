r"""The evidence of a slice on its hidden regime, and the exact filter of the regimes along whole paths.

Without the regime a trader sees the volume V_k, the unaffected price S_k and the order flow u_k of each slice. In regime m

    log(V_k / E[V_k | m]) + s^2 / 2                   ~ N(0, s^2)
    r_k - mu_m tau - s_m R u_k                        ~ N(0, (1 - R^2) s_m^2)      r_k the return of slice k

and the flow itself says nothing about the regime, so that the probabilities q_k of the regime of slice k - 1, given everything
before slice k, follow from Bayes' rule and the transition matrix P (Hamilton 1989).

Our trades do not move this evidence, so that the probabilities belong to a path (:func:`laws_along`); lanes follow them slice
by slice with the stages :func:`begin_law` and :func:`follow_law`, to the same bits.
"""

from __future__ import annotations

from functools import lru_cache
from operator import add, mul, truediv
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.belief import log_density, log_likelihood, possible, weight
from hyperexec_env.market.lane import Lane
from hyperexec_env.market.numeric import logarithm, maximum
from hyperexec_env.market.path import Path, earned_return
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.market.several import each, fold
from hyperexec_env.market.tables import Market, Numbers
from hyperexec_env.records import Real, map_leaves, numbered

__all__ = [
    *("Chain", "RegimeLaw", "Rivals", "Tape", "begin_law", "chain_of", "check_filter", "follow_law", "follow_regimes"),
    *("later_law", "laws_along", "next_law", "regime_evidence", "rivals_of", "rivals_table", "unfiltered"),
]

Floats = NDArray[np.float64]

_LEAST_VARIANCE: Final = 1e-12
"""Variance of evidence that has no error: it tells the regime."""


def unfiltered(market: Any) -> str:
    """Return why the filter of the regimes of a market is not exact; "" if it is."""
    if not isinstance(market, Market):
        return f"the filter of the regimes needs a scenario of one asset, got {market.scenario.name}"
    if market.scenario.unknown or market.numbers.spec.volume_persistence:
        needed = "a scenario without unknowns and without persistent volume"
        return f"the filter of the regimes needs {needed}, got {market.scenario.name}"
    return ""


def check_filter(market: Any) -> None:
    """Raise ValueError if the filter of the regimes of a market is not exact."""
    missing = unfiltered(market)
    if missing:
        raise ValueError(missing)


class Tape(NamedTuple):
    """What a trader sees of a slice: numbers, or arrays over episodes."""

    volume: Any
    """Market volume of the slice, shares."""
    before: Any
    """Unaffected price at the start of the slice, currency per share."""
    price: Any
    """Unaffected price at its end."""
    flow: Any
    """Order flow of the slice, standard deviations."""


def _news_variance(numbers: Numbers, step: Any) -> Any:
    """Return the variance of the return of a slice around its drift and its move by flow, given its volatility."""
    spread = numbers.by_news * step
    return maximum(spread * spread, _LEAST_VARIANCE)


def _evidence(
    numbers: Numbers, moves: Any, volume: Any, step: Any, drift: Any, variance: Any, log_variance: Any, tape: Tape
) -> Any:
    """Return the log-likelihood of a slice in a regime.

    Args:
        numbers: The numbers of the market.
        moves: 1 if the price moves in every regime, else 0: then the price is no evidence.
        volume: Expected volume of the slice in the regime, shares.
        step: Volatility of the slice in the regime, fraction.
        drift: Drift of the slice in the regime, fraction.
        variance: Variance of the return around drift and flow in the regime (:func:`_news_variance`).
        log_variance: Its logarithm.
        tape: The slice.
    """
    noise = numbers.volume_noise * numbers.volume_noise
    ratio = logarithm(tape.volume / volume) + 0.5 * noise
    total = log_likelihood(ratio, 0.0, maximum(noise, _LEAST_VARIANCE))
    earned = earned_return(numbers, step, tape.before, tape.price)
    return total + moves * log_density(earned - drift - numbers.by_flow * step * tape.flow, variance, log_variance)


def regime_evidence(market: Market, k: int, volume: Floats, before: Floats, price: Floats, flow: Floats) -> Floats:
    """Return the log-likelihood of slice `k` in each regime, shape (episodes, regimes).

    Args:
        market: The market.
        k: Slice.
        volume: Market volume of the slice, shares, shape (episodes,).
        before: Unaffected price at the start of the slice, currency per share, same shape.
        price: Unaffected price at its end.
        flow: Order flow of the slice, standard deviations.
    """
    step, expected = market.step_volatility[k], market.mean_volume[k, : market.regimes]
    tape = Tape(*(np.asarray(values)[:, None] for values in (volume, before, price, flow)))
    variance = _news_variance(market.numbers, step)
    of_regimes = expected, step, market.step_drift, variance, logarithm(variance)
    return np.asarray(_evidence(market.numbers, float(step.all()), *of_regimes, tape))


# --- regime by regime, for lanes and paths


RegimeLaw: Any = numbered("RegimeLaw", len(REGIME_NAMES), Real)
"""Probabilities of the regime of the coming slice given the slices so far, in the order of
:data:`~hyperexec_env.market.regime.REGIME_NAMES`; 0 for regimes that the scenario does not have."""
Transition: Any = numbered("Transition", len(REGIME_NAMES), RegimeLaw)
"""The law of the next regime given each regime."""


class Chain(NamedTuple):
    """The regimes of a market as a chain."""

    start: RegimeLaw
    """Law of the regime of the first slice."""
    transition: Transition


class Rivals(NamedTuple):
    """The numbers of a slice in every regime; those of a regime that the scenario does not have are those of its first."""

    moves: Real
    """1 if the price moves in every regime, else 0."""
    volume: RegimeLaw
    """Expected volume, shares."""
    step: RegimeLaw
    """Volatility of the slice, fraction."""
    drift: RegimeLaw
    """Drift of the slice, fraction."""
    variance: RegimeLaw
    """Variance of the return of the slice around its drift and its move by flow."""
    log_variance: RegimeLaw
    """Logarithm of that variance."""


def _columns(market: Market) -> list[int]:
    """Return the column of each of the six regimes in the tables of a market; -1 for those that it does not have."""
    names = market.scenario.regimes.names
    return [names.index(name) if name in names else -1 for name in REGIME_NAMES]


@lru_cache(maxsize=32)
def chain_of(market: Market) -> Chain:
    """Return the regimes of a market as a chain."""
    columns, regimes = _columns(market), market.scenario.regimes
    padded = np.pad(regimes.transition(market.tau), ((0, 1), (0, 1)))
    rows = (RegimeLaw(*padded[column, columns].tolist()) for column in columns)
    return Chain(RegimeLaw(*np.append(regimes.start_law(), 0.0)[columns].tolist()), Transition(*rows))


@lru_cache(maxsize=32)
def rivals_of(market: Market) -> Rivals:
    """Return the numbers of each slice in every regime, fields of shape (N,)."""
    columns = np.maximum(_columns(market), 0)
    volume, step = market.mean_volume[: market.slices, columns], market.step_volatility[:, columns]
    drift = np.broadcast_to(market.step_drift[columns], step.shape)
    moves = market.step_volatility.all(axis=1).astype(np.float64)
    variance = _news_variance(market.numbers, step)
    tables = volume, step, drift, variance, logarithm(variance)
    return Rivals(moves, *(RegimeLaw(*np.ascontiguousarray(values.T)) for values in tables))


def rivals_table(market: Market) -> Rivals:
    """Return :func:`rivals_of` for each cell of the market's tables, fields of shape (cells,)."""
    slices = np.minimum(np.arange(market.slices + 1), market.slices - 1).repeat(market.regimes + 1)
    table: Rivals = map_leaves(lambda values: values.take(slices), rivals_of(market))
    return table


def _moved(row: Any, probability: Any) -> Any:
    """Return the law of the next regime given a regime, times the probability of the regime."""
    return each(mul, row, probability)


def _together(law: Any, other: Any) -> Any:
    """Return the sum of two laws."""
    return each(add, law, other)


def _evidences(numbers: Numbers, rivals: Rivals, tape: Tape) -> Any:
    """Return the log-likelihoods of a slice in the regimes."""
    volume, step, drift, variance = rivals.volume, rivals.step, rivals.drift, rivals.variance
    return each(_evidence, numbers, rivals.moves, volume, step, drift, variance, rivals.log_variance, tape)


def _weighed(law: Any, evidence: Any) -> Any:
    """Return the probabilities of the regimes of a slice given its log-likelihoods too, as
    :func:`~hyperexec_env.market.belief.weigh_regimes`.
    """
    weights = each(weight, evidence, law, fold(maximum, each(possible, evidence, law)))
    return each(truediv, weights, fold(add, weights))


def later_law(chain: Chain, law: Any) -> RegimeLaw:
    """Return the law of the regime one slice later, without evidence."""
    return RegimeLaw(*fold(_together, each(_moved, chain.transition, law)))


def next_law(numbers: Numbers, chain: Chain, rivals: Rivals, law: RegimeLaw, tape: Tape) -> RegimeLaw:
    """Return the probabilities of the regimes of the next slice, given those of a slice and what was seen of it."""
    return later_law(chain, _weighed(law, _evidences(numbers, rivals, tape)))


def begin_law(chain: Chain) -> RegimeLaw:
    """Return the law of the regime of the first slice."""
    return chain.start


def follow_law(numbers: Numbers, chain: Chain, rivals: Rivals, lane: Lane, law: RegimeLaw) -> RegimeLaw:
    """Return the probabilities of the regimes at the start of a slice, given those at the start of the slice before.

    Args:
        numbers: The numbers of the market.
        chain: The regimes of the market.
        rivals: The numbers of the slice before.
        lane: The episode at the start of the slice.
        law: The probabilities before.
    """
    last, world = lane.last, lane.world
    return next_law(numbers, chain, rivals, law, Tape(last.volume, last.price, world.price, world.flow))


def _along(market: Market, path: Path) -> tuple[list[Any], list[Any]]:
    """Return the laws before each slice and at the end, and those given each slice too; fields of shape (episodes,)."""
    world, chain, after = path.world, chain_of(market), list[Any]()
    rivals: Rivals = map_leaves(lambda values: values[:, None], rivals_of(market))
    tape = Tape(path.slices.volume, world.price[:-1], world.price[1:], world.flow[1:])
    evidence = _evidences(market.numbers, rivals, tape)  # of all slices at once
    before = [RegimeLaw(*(np.full(len(path.keys), value) for value in chain.start))]
    for k in range(market.slices):
        after.append(_weighed(before[-1], tuple(values[k] for values in evidence)))
        before.append(later_law(chain, after[-1]))
    return before, after


def laws_along(market: Market, path: Path) -> RegimeLaw:
    """Return the probabilities of the regime of each slice given everything before it, fields of shape (N + 1, episodes).

    Raises:
        ValueError: The filter is not exact in the market.
    """
    check_filter(market)
    return RegimeLaw(*(np.array(values) for values in zip(*_along(market, path)[0], strict=True)))


def follow_regimes(market: Market, path: Path) -> tuple[Floats, Floats]:
    """Return what the filter says along paths, two arrays of shape (slices, episodes, regimes).

    Args:
        market: The market.
        path: Its paths.

    Returns:
        Probabilities of the regime of each slice given everything before the slice, and given the slice too.
    """
    order = [REGIME_NAMES.index(name) for name in market.scenario.regimes.names]
    before, after = (np.array(laws)[:, order].transpose(0, 2, 1) for laws in _along(market, path))
    return before[:-1], after
