"""Policies of a child order at the touch: classical tactics, the optimum, and sanity policies that must not win.

A policy has one method, `act`, which maps a :class:`~hyperexec_env.evaluation.touch_rollout.TouchSituation` to action numbers,
take * 4 + rest. All policies here are tables over (step, lots left, place), so that
:func:`~hyperexec_env.baselines.solver.touch.policy_value` has their objective exactly.

| policy | what it does |
| --- | --- |
| TWAP | takes equal lots at equal times |
| join-and-wait | joins the touch, keeps its place, and takes what is left at the end |
| peg-and-sweep | the same, but takes one lot a step as soon as there are no more steps than lots |
| cont-kukanov | takes the market part of the one-period split at once, and rests the other lots |
| glft | rests at the depth of the continuous model, rounded to the touch, one tick deeper, or taking |
| optimum | the exact optimum |
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import nearest
from hyperexec_env.evaluation.touch_rollout import TouchSituation
from hyperexec_env.market.touch import DEEP, JOIN, KEEP, NONE, RESTS, place_index
from hyperexec_env.market.touch_scenario import TouchScenario

from .closed_forms import cont_kukanov
from .closed_forms.gueant_lehalle_fernandez_tapia import DepthControl, depths
from .solver.touch import solve_touch

__all__ = ["TOUCH_BASELINES", "TOUCH_SANITY", "TablePolicy", "TouchPolicy", "touch_policy", "touch_policy_names"]

Whole = NDArray[np.int64]
Table = Callable[[TouchScenario], Whole]

_SLOWEST: Final = 1e-3
"""Least fill rate one tick deeper, as a fraction of the rate at the touch, for which the decay of the rate is fitted."""


class TouchPolicy(Protocol):
    """A policy of a child order at the touch."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    def act(self, situation: TouchSituation) -> Any:
        """Return action numbers, take * 4 + rest, in the shape of `situation.left`."""


@dataclass(frozen=True, eq=False)
class TablePolicy:
    """A policy that is a table over (step, lots left, place), made when it first acts in a scenario."""

    name: str
    table: Table = field(repr=False)
    """Function from a scenario to the actions, shape (steps, lots + 1, places)."""
    _made: dict[TouchScenario, Whole] = field(default_factory=dict, repr=False)

    def actions(self, scenario: TouchScenario) -> Whole:
        """Return the actions, shape (steps, lots + 1, places)."""
        if scenario not in self._made:
            self._made[scenario] = self.table(scenario)
        return self._made[scenario]

    def act(self, situation: TouchSituation) -> Any:
        """Return the actions of the table."""
        market = situation.market
        k = np.minimum(situation.k, market.scenario.steps - 1)
        left = np.asarray(situation.left).astype(np.int64)
        return self.actions(market.scenario)[k, left, place_index(market, situation.place)]


def _grid(scenario: TouchScenario) -> tuple[Whole, Whole, Whole]:
    """Return step, lots left and place on the grid of a table, each of a shape that broadcasts."""
    steps, lots, places = np.arange(scenario.steps), np.arange(scenario.lots + 1), np.arange(scenario.queue + 3)
    return steps[:, None, None], lots[:, None], places


def _table(scenario: TouchScenario, take: Any, rest: Any) -> Whole:
    """Return the action numbers of takes and requests that broadcast, takes limited to what is possible."""
    steps, lots, places = _grid(scenario)
    shape = np.broadcast_shapes(steps.shape, lots.shape, places.shape)
    taken = np.clip(take, 0, np.minimum(scenario.max_take, lots))
    return np.array(np.broadcast_to(taken * len(RESTS) + rest, shape), dtype=np.int64)


def _at_touch(scenario: TouchScenario) -> Whole:
    """Return the request that keeps the place at the touch, or joins it."""
    *_, places = _grid(scenario)
    return np.where(places <= scenario.queue, KEEP, JOIN)


def _twap(scenario: TouchScenario) -> Whole:
    steps, lots, _ = _grid(scenario)
    return _table(scenario, lots - scenario.lots * (scenario.steps - 1 - steps) // scenario.steps, NONE)


def _join(scenario: TouchScenario) -> Whole:
    return _table(scenario, 0, _at_touch(scenario))


def _sweep(scenario: TouchScenario) -> Whole:
    steps, lots, _ = _grid(scenario)
    return _table(scenario, lots - (scenario.steps - 1 - steps), _at_touch(scenario))


def _cont_kukanov(scenario: TouchScenario) -> Whole:
    """Return the split of one period: what is not filled costs what taking the whole order costs a lot."""
    terms = cont_kukanov.Terms(
        size=scenario.lots,
        queue=scenario.queue,
        half_spread=scenario.half_spread,
        fee=scenario.take_fee,
        rebate=scenario.make_rebate,
        penalty=max(scenario.half_spread + scenario.take_fee + scenario.impact * scenario.lots, 1e-12),
    )
    split = cont_kukanov.best_split(terms, cont_kukanov.Poisson(scenario.outflow * scenario.steps))
    steps, _, _ = _grid(scenario)
    return _table(scenario, round(split.market) - scenario.max_take * steps, _at_touch(scenario))


def _glft(scenario: TouchScenario) -> Whole:
    """Return the depth of the continuous model, whose rate is fitted to one lot at the touch and one tick deeper.

    A fill at the distance delta gains delta + r - a, so the model's distance is delta plus rebate less adverse selection.
    """
    through, flow = scenario.sweep_probability, scenario.outflow
    touch = (through + flow / (scenario.queue + 1.0)) / scenario.step_seconds
    if touch <= 0.0:
        return _twap(scenario)
    reached = through + flow / (scenario.deeper_queue + 1.0)
    deeper = 1.0 / (1.0 / through + 1.0 / reached) / scenario.step_seconds if through > 0.0 else 0.0
    decay = math.log(touch / min(max(deeper, _SLOWEST * touch), 0.99 * touch)) / scenario.tick
    gain = scenario.make_rebate - scenario.adverse
    model = DepthControl(
        lots=scenario.lots,
        horizon=scenario.horizon_seconds,
        rate=touch * math.exp(decay * (scenario.half_spread + gain)),
        decay=decay,
        risk=scenario.risk / scenario.step_seconds,
        final_cost=max(scenario.half_spread + scenario.take_fee, 0.0),
        final_impact=scenario.impact,
    )
    left = scenario.horizon_seconds - scenario.step_seconds * np.arange(scenario.steps)
    wanted = np.array([[0.0, *(depths(model, float(time)) - gain)] for time in left])[:, :, None]
    _, _, places = _grid(scenario)
    takes = wanted < -0.5 * scenario.take_fee  # nearer to taking, at -(h + f), than to the touch, at h
    deep = wanted > scenario.half_spread + 0.5 * scenario.tick
    rest = np.where(deep, np.where(places == scenario.queue + 1, KEEP, DEEP), _at_touch(scenario))
    return _table(scenario, np.where(takes, 1, 0), rest)


def _random(scenario: TouchScenario) -> Whole:
    rng = np.random.default_rng(0)
    shape = scenario.steps, scenario.lots + 1, scenario.queue + 3
    return _table(scenario, rng.integers(0, scenario.max_take + 1, shape), rng.integers(0, len(RESTS), shape))


def _rejoin(scenario: TouchScenario) -> Whole:
    return _table(scenario, 0, JOIN)


def _take(scenario: TouchScenario) -> Whole:
    return _table(scenario, scenario.max_take, NONE)


def _dump(scenario: TouchScenario) -> Whole:
    return _table(scenario, 0, NONE)


def _optimum(scenario: TouchScenario) -> Whole:
    return solve_touch(scenario).actions


TOUCH_BASELINES: Final[dict[str, Table]] = {
    "TWAP": _twap,
    "join-and-wait": _join,
    "peg-and-sweep": _sweep,
    "cont-kukanov": _cont_kukanov,
    "glft": _glft,
}
"""Classical policies by name."""
TOUCH_SANITY: Final[dict[str, Table]] = {
    "random": _random,
    "cancel-and-rejoin": _rejoin,
    "take-at-once": _take,
    "wait-then-dump": _dump,
}
"""Sanity policies by name: an action drawn once for each state, a place given up in each step, all lots taken at once, and all
lots taken at the end."""
_ALL: Final = {**TOUCH_BASELINES, "optimum": _optimum, **TOUCH_SANITY}


def touch_policy_names() -> tuple[str, ...]:
    """Return the names of the policies."""
    return tuple(_ALL)


@lru_cache(maxsize=64)
def touch_policy(name: str) -> TablePolicy:
    """Return a policy by its name, in any case of letters.

    Raises:
        ValueError: The name is unknown; the message names the nearest one.
    """
    known = {each.lower(): each for each in _ALL}
    found = known.get(name.lower())
    if found is None:
        raise ValueError(f"unknown policy {name!r}{nearest(name, _ALL)} (known: {', '.join(_ALL)})")
    return TablePolicy(found, _ALL[found])
