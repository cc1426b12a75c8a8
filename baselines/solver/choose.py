"""Solve a scenario of one asset, a basket, a child order at the touch or an order over venues."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, overload

from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario
from hyperexec_env.market.scenario import Scenario, ScenarioLike
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario

from . import solution as one_asset
from .basket import BasketSolution, solve_basket
from .solution import Solution
from .touch import TouchSolution, solve_touch
from .venues import VenueSolution, solve_venues

__all__ = ["solve"]

_SOLVERS: Final[dict[type, Callable[..., Any]]] = {
    Scenario: one_asset.solve,
    BasketScenario: solve_basket,
    TouchScenario: solve_touch,
    VenueScenario: solve_venues,
}


@overload
def solve(scenario: Scenario, *, cached: bool = True) -> Solution: ...
@overload
def solve(scenario: BasketScenario, *, cached: bool = True) -> BasketSolution: ...
@overload
def solve(scenario: TouchScenario, *, cached: bool = True) -> TouchSolution: ...
@overload
def solve(scenario: VenueScenario, *, cached: bool = True) -> VenueSolution: ...
@overload
def solve(scenario: str | os.PathLike[str] | Mapping[str, Any], *, cached: bool = True) -> Any: ...
def solve(scenario: ScenarioLike | BasketLike | TouchLike | VenueLike, *, cached: bool = True) -> Any:
    """Solve a scenario of any kind, or read its solution from the cache.

    Args:
        scenario: A name, a dict, a path or a record, of any kind of scenario.
        cached: Whether to read and write the cache.

    Returns:
        A :class:`~hyperexec_env.baselines.solver.solution.Solution`, or, for a basket, a
        :class:`~hyperexec_env.baselines.solver.basket.BasketSolution`, or, for a touch scenario, a
        :class:`~hyperexec_env.baselines.solver.touch.TouchSolution`, or, for a scenario with venues, a
        :class:`~hyperexec_env.baselines.solver.venues.VenueSolution`.
    """
    record = get_scenario(scenario)
    return _SOLVERS[type(record)](record, cached=cached)
