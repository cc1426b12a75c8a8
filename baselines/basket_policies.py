"""Policies of a basket: the classical plans, the optimum, and sanity policies that must not beat TWAP.

A policy has one method, `act`, which maps a :class:`~hyperexec_env.envs.situation.Situation` with a leading asset axis to
shares of the same shape: `market` is the :class:`~hyperexec_env.market.basket_path.BasketMarket`, `k` and `seen` are the
basket's, and every other field has the shape (assets,) or (assets, episodes).

| policy | what it knows |
| --- | --- |
| TWAP, VWAP | the clock, and the expected volume |
| AC-own | the optimum of each asset alone: neither correlation nor the impact of other assets |
| AC-basket | Almgren and Chriss (2000) with matrices: covariance, and temporary impact linearised at the pace of TWAP |
| one-dial | the best schedule that all assets share |
| no-cross-impact | the optimum for `cross_impact` 0 |
| optimum | the exact optimum (:mod:`~hyperexec_env.baselines.solver.basket`) |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.execution.basket_program import Program, best_schedule, build_program
from hyperexec_env.market.basket import Coupling
from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.noise import mix

from .closed_forms.basket import almgren_chriss_remaining
from .solver.basket import solve_basket
from .solver.basket_riccati import is_linear, solve_riccati

__all__ = [
    "BASKET_BASELINES",
    "BASKET_SANITY",
    "BasketOptimal",
    "Gains",
    "Plan",
    "basket_policy",
    "basket_policy_names",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plan:
    """A fixed schedule, made from the market of the basket when the policy first acts in it."""

    name: str
    schedule: Callable[[BasketMarket], Floats] = field(repr=False)
    """Function from a market to the fraction of each order that each slice trades, shape (slices, assets)."""
    needs: Callable[[BasketMarket], str] = field(default=lambda market: "", repr=False)
    """Function from a market to why it has no such schedule; "" if it has one."""
    _made: dict[BasketMarket, Floats] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str | None:
        """Identity of a plan of this module, whose code a store knows; None for a plan of another function."""
        return f"{self.name} {self.schedule.__qualname__}" if self.schedule.__module__ == __name__ else None

    def unfit(self, market: BasketMarket) -> str:
        """Return why a market has no such schedule; "" if it has one."""
        return self.needs(market)

    def act(self, situation: Situation) -> Any:
        """Return the planned fraction of what remains."""
        fractions = self.fractions(situation.market)[np.minimum(situation.k, situation.market.slices - 1)]
        by_asset, left = np.moveaxis(fractions, -1, 0), np.asarray(situation.remaining)
        return left * (by_asset if by_asset.ndim == left.ndim else by_asset[..., None])

    def fractions(self, market: BasketMarket) -> Floats:
        """Return the fraction of the remaining shares that each slice trades, shape (slices, assets)."""
        if market not in self._made:
            shares = np.maximum(self.schedule(market), 0.0)
            left = np.cumsum(shares[::-1], axis=0)[::-1]
            self._made[market] = np.divide(shares, left, out=np.ones_like(shares), where=left > 0.0)
        return self._made[market]


@dataclass(frozen=True, eq=False)
class Gains:
    """Linear feedback: the solution of a Riccati recursion, with trades limited to what remains."""

    name: str
    solved: Callable[[BasketMarket], Floats] = field(repr=False)
    """Function from a market to gains on (remaining fractions, displacements over prices, 1), shape (slices, regimes, assets,
    2 assets + 1)."""

    def act(self, situation: Situation) -> Any:
        """Return the linear trades."""
        market, gains = situation.market, self.solved(situation.market)
        prices = np.array([asset.arrival_price for asset in market.scenario.assets])[:, None]
        quantities = np.asarray(situation.quantity, dtype=float).reshape(len(prices), -1)
        left = np.asarray(situation.remaining, dtype=float).reshape(len(prices), -1) / quantities
        displaced = np.asarray(situation.transient, dtype=float).reshape(left.shape) / prices
        state = np.concatenate([left, displaced, np.ones((1, left.shape[1]))])
        k = np.minimum(np.broadcast_to(situation.k, left.shape[1:]), market.slices - 1)
        trades = np.einsum("eas,se->ae", gains[k, np.broadcast_to(situation.seen, left.shape[1:])], state)
        return (np.clip(trades, 0.0, left) * quantities).reshape(np.shape(situation.remaining))


class Random:
    """Trade each asset at a random multiple of its TWAP pace, uniform on [0, 2]: a hash of the flow of the previous slice."""

    name = "random"

    def act(self, situation: Situation) -> Any:
        """Return random multiples of the remaining shares over the remaining slices."""
        bits = np.array(situation.flow, dtype=np.float64, ndmin=1).view(np.uint64)
        uniform = ((mix(bits + np.uint64(1)) >> np.uint64(11)) * 2.0**-53).reshape(np.shape(situation.flow))
        return situation.remaining * (2.0 * uniform / (situation.market.slices - situation.k))


def _columns(market: BasketMarket, weights: Any) -> Floats:
    """Return one schedule for all assets."""
    return np.repeat(np.asarray(weights, dtype=float)[:, None], len(market.markets), axis=1)


def _twap(market: BasketMarket) -> Floats:
    return _columns(market, np.full(market.slices, 1.0 / market.slices))


def _vwap(market: BasketMarket) -> Floats:
    return np.stack([-np.diff(each.plan) for each in market.markets], axis=1)


def _uncoupled(market: BasketMarket) -> BasketMarket:
    """Return the basket as a trader sees it who looks at each asset alone: own slopes and own risk, no other entry."""
    diagonal = (tuple(map(tuple, np.diag(np.diag(rows)).tolist())) for rows in market.coupling)
    return replace(market, coupling=Coupling(*diagonal))


class _Own:
    """The optimum of each asset alone, with its own slope as its own fills show it."""

    name = "AC-own"

    def act(self, situation: Situation) -> Any:
        """Return the shares that are best for each asset alone."""
        return _own_in(situation.market).act(situation)


@lru_cache(maxsize=16)
def _own_in(market: BasketMarket) -> Policy:
    alone = _uncoupled(market)
    if market.regimes > 1 and is_linear(alone):
        gains = solve_riccati(alone).gains
        return Gains("AC-own", lambda _: gains)
    shares = best_schedule(build_program(alone)).shares
    return Plan("AC-own", lambda _: shares)


def _almgren_chriss(market: BasketMarket) -> Floats:
    """Return the schedule of Almgren and Chriss (2000), averaged over regimes, with impact linearised at the pace of TWAP."""
    program, slices = build_program(market), market.slices
    pace = 1.0 / slices
    # the linear cost of one slice that equals the mean temporary cost at the pace of TWAP, for orders of size one
    temporary = (program.temporary * pace ** (program.power - 2.0)).mean(axis=0)
    assets = len(market.markets)
    held = 0.5 * program.risk[-assets:, -assets:] / (slices - 1) if slices > 1 else np.zeros((assets, assets))
    if not (temporary > 0.0).all():
        return _twap(market)
    return -np.diff(almgren_chriss_remaining(temporary, held, np.ones(assets), slices), axis=0)


def _one_exponent(market: BasketMarket) -> str:
    """Return why the assets of a market have no dial in common; "" if they have one."""
    exponents = [asset.temp_impact_beta for asset in market.scenario.assets]
    return "" if min(exponents) == max(exponents) else f"temp_impact_beta must be equal for all assets, got {exponents}"


def _one_dial(market: BasketMarket) -> Floats:
    """Return the best schedule that all assets share."""
    program, assets = build_program(market), len(market.markets)

    def summed(matrix: Floats) -> Floats:
        return np.asarray(matrix.reshape(market.slices, assets, market.slices, assets).sum(axis=(1, 3)))

    shared = Program(
        quantities=np.ones(1),
        quadratic=summed(program.quadratic),
        risk=summed(program.risk),
        temporary=program.temporary.sum(axis=1, keepdims=True),
        power=program.power[:1],
        spread=program.spread.sum(axis=1, keepdims=True),
    )
    return _columns(market, best_schedule(shared).shares[:, 0])


class _WithoutCrossImpact:
    """The optimum of the basket if there were no cross-impact."""

    name = "no-cross-impact"

    def act(self, situation: Situation) -> Any:
        """Return the shares that are optimal without cross-impact."""
        return _best_in(self.name, situation.market, 0.0).act(situation)


def _windows(market: BasketMarket, begin: Floats, end: Floats) -> Floats:
    """Return schedules that trade at a steady pace between two times of each asset, as fractions of the horizon."""
    edges = np.linspace(0.0, 1.0, market.slices + 1)[:, None]
    done = np.clip((edges - begin) / (end - begin), 0.0, 1.0)
    return np.asarray(np.diff(done, axis=0))


def _one_by_one(market: BasketMarket) -> Floats:
    count = len(market.markets)
    return _windows(market, np.arange(count) / count, (np.arange(count) + 1.0) / count)


def _buys_first(market: BasketMarket) -> Floats:
    sells = np.array(market.sides) < 0.0
    return _windows(market, np.where(sells, 0.5, 0.0), np.where(sells, 1.0, 0.5))


def _every_fifth(market: BasketMarket) -> Floats:
    trading = (market.slices - 1 - np.arange(market.slices)) % 5 == 0
    return _columns(market, trading / trading.sum())


def _at(position: int) -> Callable[[BasketMarket], Floats]:
    """Return the schedule that trades everything in one slice."""
    return lambda market: _columns(market, np.eye(market.slices)[position])


class BasketOptimal:
    """The optimal policy of a basket that is solved exactly, or the best fixed schedule of one that is not."""

    name = "optimum"

    def act(self, situation: Situation) -> Any:
        """Return the optimal shares."""
        return _best_in(self.name, situation.market, situation.market.scenario.cross_impact).act(situation)


@lru_cache(maxsize=16)
def _best_in(name: str, market: BasketMarket, cross_impact: float) -> Policy:
    """Return the optimal policy of a market with some weight of cross-impact."""
    solution = solve_basket(replace(market.scenario, cross_impact=cross_impact))
    if solution.gains.size:
        return Gains(name, lambda _: solution.gains)
    return Plan(name, lambda _: solution.schedule)


BASKET_BASELINES: Final[dict[str, Callable[[], Policy]]] = {
    "TWAP": lambda: Plan("TWAP", _twap),
    "VWAP": lambda: Plan("VWAP", _vwap),
    "AC-own": _Own,
    "AC-basket": lambda: Plan("AC-basket", _almgren_chriss),
    "one-dial": lambda: Plan("one-dial", _one_dial, _one_exponent),
    "no-cross-impact": _WithoutCrossImpact,
}
"""Factories of the classical policies by name."""
BASKET_SANITY: Final[dict[str, Callable[[], Policy]]] = {
    "random": Random,
    "all-at-once": lambda: Plan("all-at-once", _at(0)),
    "wait-then-dump": lambda: Plan("wait-then-dump", _at(-1)),
    "every-5th": lambda: Plan("every-5th", _every_fifth),
    "one-by-one": lambda: Plan("one-by-one", _one_by_one),
    "buys-first": lambda: Plan("buys-first", _buys_first),
}
"""Factories of the sanity policies by name. In a market without a defect they do not beat TWAP."""


def basket_policy_names() -> tuple[str, ...]:
    """Return the names of all policies of baskets."""
    return (*BASKET_BASELINES, "optimum", *BASKET_SANITY)


def basket_policy(name: str) -> Policy:
    """Return a new policy of baskets by name (case-insensitive).

    Raises:
        ValueError: The name is unknown; the message suggests the nearest name.
    """
    known = {**BASKET_BASELINES, "optimum": BasketOptimal, **BASKET_SANITY}
    by_word = {key.lower(): make for key, make in known.items()}
    if name.lower() not in by_word:
        raise ValueError(f"unknown policy of baskets {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    return by_word[name.lower()]()
