r"""Exact optimum of a child order at the touch: backward induction over whole lots, without a grid.

The state before step t is (lots left q, where they rest); the actions are (lots to take, what the others do). With the market's
step (:func:`~hyperexec_env.market.touch.turn`), whose draws take finitely many values,

    E_t(x, place) = sum over outflow and move of their probabilities times (fill + risk + V_{t+1}(after))
    V_t(q, place) = min over (m, rest) of take(m) + E_t(q - m, place after the request)

The probabilities are those of the 32-bit tables from which the environment draws, so V is its optimum up to rounding. Which
state follows which, and at what cost, does not depend on t: it is computed once, for all states and draws together.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.touch import (
    KEEP,
    NONE,
    NOWHERE,
    RESTS,
    Bill,
    Draw,
    Place,
    TouchMarket,
    all_places,
    build_touch,
    place_index,
    placed,
    turn,
    unwind,
)
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario, get_touch

__all__ = ["TouchSolution", "TouchStates", "build_states", "policy_parts", "policy_value", "solve_touch"]

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

_CASES: Final = 3_000_000
"""Largest number of states times draws, which take about 300 MB."""
_VALUES: Final = 20_000_000
"""Largest number of states times steps, which take about 300 MB."""
_TIE: Final = 1e-12
"""Difference of two costs, in half-spreads per lot, that counts as rounding: the first of the equal actions is chosen."""


class TouchStates(NamedTuple):
    """States, actions and transitions of a touch market; costs are in currency per share, summed over the lots.

    A place is an index: j lots ahead at the touch (0 .. queue), then one tick deeper, then nowhere.
    """

    market: TouchMarket
    taking: Floats
    """Cost by source of taking 0, 1, ... lots in a step, shape (parts, takes)."""
    ending: Floats
    """Cost by source of taking everything after the last step, by the lots that are left, shape (parts, lots + 1)."""
    resting: Floats
    """Mean cost by source of a step after the request, by lots and place, shape (parts, lots + 1, places)."""
    places: Whole
    """Place after each request at each place, shape (rests, places)."""
    allowed: NDArray[np.bool_]
    """Whether each request can be made at each place, shape (rests, places): only an order that rests can keep its place."""
    follows: Whole
    """State after each draw, as an index lots * places + place, shape (lots + 1, places, draws)."""
    chances: Floats
    """Probability of each draw, shape (draws,)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of lots and of places."""
        _, lots, places = self.resting.shape
        return lots, places


@lru_cache(maxsize=16)
def build_states(touch: TouchScenario) -> TouchStates:
    """Return the states and transitions of a touch scenario."""
    market, scenario, places = build_touch(touch), touch, all_places(build_touch(touch))
    count, states = len(places.level), (scenario.lots + 1) * len(places.level)
    for name, cases, most in (("draws", 3 * len(market.outflow_law), _CASES), ("steps", scenario.steps, _VALUES)):
        if states * cases > most:
            raise ValueError(
                f"lots, queue, outflow and steps must be smaller for an exact table: {states:,} states times {cases:,} {name} "
                f"must be at most {most:,}"
            )
    lots = np.arange(scenario.lots + 1.0)
    outflows, moves = market.outflow_law, market.move_law
    chances = np.outer(outflows, [chance for _, chance in moves]).ravel()
    draws = Draw(np.repeat(np.arange(float(len(outflows))), len(moves)), np.tile([move for move, _ in moves], len(outflows)))
    shape = len(lots), count, len(chances)

    def grid(values: Any, axis: int) -> Floats:
        """Return values along one axis of the grid (lots, places, draws)."""
        return np.asarray(np.broadcast_to(np.expand_dims(values, [a for a in range(3) if a != axis]), shape))

    at = Place(grid(places.level, 1), grid(places.ahead, 1))
    drawn = Draw(grid(draws.outflow, 2), grid(draws.moved, 2))
    after = turn(market, grid(lots, 0), at, np.zeros(shape), np.full(shape, KEEP), drawn)
    taken = np.arange(min(scenario.max_take, scenario.lots) + 1.0)
    paid = turn(
        market, taken, Place(np.full(taken.shape, NOWHERE), 0.0 * taken), taken, np.full(taken.shape, NONE), Draw(0.0, 0.0)
    )
    rests = np.arange(len(RESTS))[:, None]
    at_any = Place(np.broadcast_to(places.level, (len(RESTS), count)), np.broadcast_to(places.ahead, (len(RESTS), count)))
    allowed = (rests != KEEP) | (places.level != NOWHERE)
    return TouchStates(
        market=market,
        taking=np.array(paid.bill),
        ending=np.array(unwind(market, lots)),
        resting=np.array([part @ chances for part in after.bill]),
        places=place_index(market, placed(market, at_any, np.broadcast_to(rests, (len(RESTS), count)))),
        allowed=np.asarray(allowed),
        follows=after.left.astype(np.int64) * count + place_index(market, after.place),
        chances=chances,
    )


def _ahead(states: TouchStates, cost: Floats, following: Floats) -> Floats:
    """Return the mean of a cost of the step and of the value after it, shape (lots + 1, places)."""
    return np.asarray(cost + following.ravel()[states.follows] @ states.chances)


def _actions(states: TouchStates, ahead: Floats) -> Floats:
    """Return the cost of every action, given the mean cost from a request on; inf where the action cannot be taken.

    The shape is (takes, rests, lots + 1, places).
    """
    paid, (lots, places) = states.taking.sum(axis=0), states.shape
    costs = np.full((len(paid), len(RESTS), lots, places), np.inf)
    for m, price in enumerate(paid):
        requested = np.where(states.allowed, ahead[: lots - m][:, states.places], np.inf)  # (lots + 1 - m, rests, places)
        costs[m, :, m:] = price + requested.transpose(1, 0, 2)
    return costs


@dataclass(frozen=True, eq=False)
class TouchSolution:
    """Optimum of a child order at the touch, in half-spreads per lot of the order."""

    scenario: TouchScenario
    optimum: float
    """J*, the least objective over all policies."""
    take_only: float
    """The least objective of policies that only take."""
    rest_only: float
    """The least objective of policies that take nothing before the end."""
    parts: dict[str, float]
    """J* by source: take, impact, rest and risk."""
    seconds: float
    """Time to solve the scenario, seconds."""
    values: Floats = field(repr=False)
    """Cost from each step on, half-spreads per lot of the order, shape (steps + 1, lots + 1, places)."""
    actions: Whole = field(repr=False)
    """Best action, take * 4 + rest, shape (steps, lots + 1, places)."""

    @property
    def first(self) -> tuple[int, str]:
        """Best first action: lots to take, and what the others do."""
        take, rest = divmod(int(self.actions[0, -1, -1]), len(RESTS))
        return take, RESTS[rest]

    def __str__(self) -> str:
        """Return the optimum and the reference objectives as text."""
        best = self.optimum
        rows = [("take only", self.take_only), ("rest only, then take", self.rest_only), ("optimum J*", best)]
        cells = [
            ["", name, f"{value:.6f}", f"{100.0 * (value - best) / abs(best):.2f}" if best else "-"] for name, value in rows
        ]
        take, rest = self.first
        scenario = self.scenario
        currency = best * scenario.half_spread * scenario.lots * scenario.lot_shares
        return "\n".join(
            [
                text_table(["", "objective J", "half-spreads per lot", "% above J*"], cells),
                "",
                f"{scenario.name} ({scenario.hash}): {scenario.lots} lots in {scenario.steps} steps of "
                f"{scenario.step_seconds:g} s; exact backward induction over {self.values[0].size:,} states and "
                f"{(scenario.max_take + 1) * len(RESTS)} actions, {self.seconds:.2f} s.",
                f"First action: take {take}, the others: {rest}. J* = {currency:.2f} in currency. "
                "By source: " + ", ".join(f"{name} {value:+.4f}" for name, value in self.parts.items()) + ".",
                *(f"WARNING: {text}" for text in scenario.warnings),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the solution as plain values for JSON."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "unit": "half-spreads per lot",
            "optimum": self.optimum,
            "take_only": self.take_only,
            "rest_only": self.rest_only,
            "parts": self.parts,
            "first_action": list(self.first),
            "steps": self.scenario.steps,
            "seconds": self.seconds,
        }


def _induction(states: TouchStates, steps: int, allowed: Any) -> tuple[Floats, Whole]:
    """Return the values and the best of the allowed actions, a mask of shape (takes, rests); costs in currency per share."""
    lots, places = states.shape
    tie = _TIE / states.market.scenario.scale
    values, best = np.zeros((steps + 1, lots, places)), np.zeros((steps, lots, places), np.int64)
    values[steps] = states.ending.sum(axis=0)[:, None]
    shut, cost = np.where(allowed, 0.0, np.inf)[:, :, None, None], states.resting.sum(axis=0)
    for t in range(steps - 1, -1, -1):
        costs = (_actions(states, _ahead(states, cost, values[t + 1])) + shut).reshape(-1, lots, places)
        least = costs.min(axis=0)
        values[t], best[t] = least, (costs <= least + tie).argmax(axis=0)
    return values, best


def solve_touch(touch: TouchLike, *, cached: bool = True) -> TouchSolution:
    """Solve a child order at the touch exactly.

    Args:
        touch: A name, a dict, a path or a touch scenario.
        cached: Whether to return the solution that this process found before.
    """
    found = get_touch(touch)
    return _solve_cached(found) if cached else _solve(found)


@lru_cache(maxsize=16)
def _solve_cached(scenario: TouchScenario) -> TouchSolution:
    return _solve(scenario)


def _solve(scenario: TouchScenario) -> TouchSolution:
    """Solve a scenario, and the same without resting or without taking."""
    start = time.perf_counter()
    build_states.cache_clear()
    states, scale = build_states(scenario), scenario.scale
    takes = states.taking.shape[1]
    every = np.ones((takes, len(RESTS)), bool)
    only_takes, only_rests = every.copy(), every.copy()
    only_takes[:, 1:], only_rests[1:] = False, False
    values, actions = _induction(states, scenario.steps, every)
    others = [float(_induction(states, scenario.steps, allowed)[0][0, -1, -1] * scale) for allowed in (only_takes, only_rests)]
    return TouchSolution(
        scenario=scenario,
        optimum=float(values[0, -1, -1] * scale),
        take_only=others[0],
        rest_only=others[1],
        parts=policy_parts(scenario, actions),
        seconds=time.perf_counter() - start,
        values=values * scale,
        actions=actions,
    )


def policy_parts(touch: TouchLike, actions: Any) -> dict[str, float]:
    """Return the exact objective of a policy by source, half-spreads per lot, without simulation.

    Requests that cannot be met are lowered as the environment lowers them: a take to the lots that are left, and to keep a
    place without resting to no resting.

    Args:
        touch: A name, a dict, a path or a touch scenario.
        actions: Action, take * 4 + rest, of each step, number of lots left and place, shape (steps, lots + 1, places).

    Raises:
        ValueError: The actions have another shape or are not whole numbers in the range.
    """
    found = get_touch(touch)
    states = build_states(found)
    lots, places = states.shape
    chosen, most = np.asarray(actions), (found.max_take + 1) * len(RESTS)
    if chosen.shape != (found.steps, lots, places) or chosen.dtype.kind not in "iu":
        raise ValueError(f"actions must be whole numbers of the shape {(found.steps, lots, places)}, got {chosen.shape}")
    if ((chosen < 0) | (chosen >= most)).any():
        raise ValueError(f"actions must be in [0, {most - 1}], got {int(chosen.min())} to {int(chosen.max())}")
    takes, rests = np.minimum(chosen // len(RESTS), np.arange(lots)[:, None]), chosen % len(RESTS)
    values = np.repeat(states.ending[:, :, None], places, axis=2)
    for t in range(found.steps - 1, -1, -1):
        left, place = np.arange(lots)[:, None] - takes[t], states.places[rests[t], np.arange(places)]
        for part, value in enumerate(values):
            ahead = _ahead(states, states.resting[part], value)
            values[part] = states.taking[part][takes[t]] + ahead[left, place]
    return {name: float(value[-1, -1] * found.scale) for name, value in zip(Bill._fields, values, strict=True)}


def policy_value(touch: TouchLike, actions: Any) -> float:
    """Return the exact objective of a policy, half-spreads per lot; arguments and errors as in :func:`policy_parts`."""
    return sum(policy_parts(touch, actions).values())
