"""Solve a scenario of one asset, a basket or a child order at the touch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, overload

from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario
from hyperexec_env.market.scenario import Scenario, ScenarioLike
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario

from . import solution as one_asset
from .basket import BasketSolution, solve_basket
from .solution import Solution
from .touch import TouchSolution, solve_touch

__all__ = ["solve"]

_SOLVERS: Final[dict[type, Callable[..., Any]]] = {
    Scenario: one_asset.solve,
    BasketScenario: solve_basket,
    TouchScenario: solve_touch,
}


@overload
def solve(scenario: Scenario, *, cached: bool = True) -> Solution: ...
@overload
def solve(scenario: BasketScenario, *, cached: bool = True) -> BasketSolution: ...
@overload
def solve(scenario: TouchScenario, *, cached: bool = True) -> TouchSolution: ...
@overload
def solve(scenario: str | os.PathLike[str] | Mapping[str, Any], *, cached: bool = True) -> Any: ...
def solve(scenario: ScenarioLike | BasketLike | TouchLike, *, cached: bool = True) -> Any:
    """Solve a scenario, a basket or a touch scenario, or read its solution from the cache.

    Args:
        scenario: A name, a dict, a path, a scenario, a basket or a touch scenario.
        cached: Whether to read and write the cache.

    Returns:
        A :class:`~hyperexec_env.baselines.solver.solution.Solution`, or, for a basket, a
        :class:`~hyperexec_env.baselines.solver.basket.BasketSolution`, or, for a touch scenario, a
        :class:`~hyperexec_env.baselines.solver.touch.TouchSolution`.
    """
    record = get_scenario(scenario)
    return _SOLVERS[type(record)](record, cached=cached)
