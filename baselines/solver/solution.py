"""Solve a scenario: choose the exact method, compute J* and the reference objectives, and cache the solution."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hyperexec_env.market
import hyperexec_env.orders
import hyperexec_env.records
from hyperexec_env.checks import check_numbers
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.files import cache_folder, read_cached, write_cached
from hyperexec_env.market.provenance import described_sources
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.progress import progress

from .bounds import ignoring_bps, lower_bound, unknowns_alone, volume_alone
from .dynamic import FINE, Grid, Table, solve_delayed
from .learning import is_separable, solve_separable
from .linear import Riccati, keeps_one_side
from .objectives import bps_of, schedule_objective, schedules, solve_to_tolerance, solve_two_sided, told_bps
from .policies import LinearPolicy, SchedulePolicy, TablePolicy, table_policy
from .problem import build_problem, unsolved
from .spline import Axis
from .two_points import solve_two_points

__all__ = ["Best", "Solution", "best_of", "code_hash", "even_bps", "optimum", "schedule_bps", "solve"]

Floats = NDArray[np.float64]

_EXACT: Final = 1e-9
"""Relative rounding error of an objective that is computed without a grid."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Optimum of a scenario and reference objectives, in bps of the arrival notional.

    If the scenario is not solved exactly, only a lower bound is available: the other objectives and the policy are None. If
    unknowns or the persistence of the volume alone prevent an exact solution, there are an upper bound and the objectives of
    schedules too.
    """

    scenario: Scenario
    method: str
    """"Riccati", "recursion in the belief", "dynamic programming", or "bound" where the scenario is not solved exactly."""
    reason: str
    """Reason why the scenario is not solved exactly; empty if it is solved."""
    by_regime: dict[str, float]
    """J* by the regime of the first slice; empty if not solved."""
    optimum_bps: float | None
    """J* for the scenario's distribution of the first regime."""
    stationary_bps: float | None
    """J* if the first regime is drawn from the stationary distribution."""
    told_bps: float | None
    """J* of a policy that is told the unknowns of each episode; None without unknowns."""
    bound_bps: float | None
    """Lower bound on J* if not solved (with unknowns: J* of a policy that is told them); if solved and linear, the optimum of
    an order that may trade both ways."""
    upper_bps: float | None
    """Upper bound on J*, the objective of a policy that ignores past volumes and what else tells unknowns; None if solved or
    not known."""
    open_loop_bps: float | None
    """Objective of the best fixed schedule."""
    regime_blind_bps: float | None
    """Optimal objective of a policy that observes the regime one slice late."""
    twap_bps: float | None
    """Objective of TWAP."""
    relative_error: float | None
    """Relative error of J*: the largest difference to a coarser grid over the first regimes; 0 if exact to rounding."""
    seconds: float
    """Time to solve the scenario, seconds."""
    fractions: Floats = field(repr=False)
    """Best fixed schedule as fractions of the remaining shares, shape (slices,); empty if not solved."""
    policy: TablePolicy | LinearPolicy | None = field(repr=False)
    """Optimal policy, which runs in the environment."""

    @property
    def accuracy(self) -> str:
        """Describe the method and the error of J*."""
        exact = f"relative error {self.relative_error:.1e} from two grids" if self.relative_error else "exact"
        return f"{self.method}, {exact}"

    @property
    def bounds(self) -> str:
        """Describe why there is no exact optimum, and the bounds on J*; for a scenario that is not solved exactly."""
        lower = f"not solved exactly: {self.reason}. J* is at least {self.bound_bps:.4f} bps"
        if self.upper_bps is None:
            return lower
        scenario = self.scenario
        known = {"volume_level_sd": ("volume level", "volumes"), "drift_sd": ("drift", "prices")}
        known |= {"temp_impact_sd": ("temporary impact", "fills"), "kyle_sd": ("Kyle's lambda", "flows")}
        names = [known[name] for name in scenario.unknown]
        told = f" ({' and '.join(name for name, _ in names)} told)" if names else ""
        ignored = " and ".join(evidence for _, evidence in names) or "volumes"
        return f"{lower}{told} and at most {self.upper_bps:.4f} bps (policy that ignores past {ignored})"

    @property
    def schedule(self) -> Floats:
        """Best fixed schedule if no cap binds, as fractions of the order, shape (slices,)."""
        left = np.concatenate([[1.0], np.cumprod(1.0 - self.fractions)[:-1]]) if len(self.fractions) else self.fractions
        return np.asarray(left * self.fractions)

    @property
    def best_schedule(self) -> SchedulePolicy | None:
        """Best fixed schedule as a policy; None if not solved."""
        return SchedulePolicy(self.fractions) if len(self.fractions) else None

    @property
    def reference(self) -> Optimum:
        """Reference values for a board."""
        return Optimum(
            optimum_bps=self.optimum_bps,
            bound_bps=self.bound_bps if self.optimum_bps is None else None,
            upper_bps=self.upper_bps,
            open_loop_bps=self.open_loop_bps,
            regime_blind_bps=self.regime_blind_bps,
            twap_bps=self.twap_bps,
            relative_error=self.relative_error,
            policy=self.policy,
        )

    def __str__(self) -> str:
        """Return J*, the best schedules and J* by regime as text."""
        scenario, best = self.scenario, self.optimum_bps
        title = f"{scenario.name} ({scenario.hash}): "
        if best is None:
            return f"{title}{self.bounds}"
        lines = [*self._tables(best), ""]
        if self.bound_bps is not None and self.bound_bps < best - 1e-6 * abs(best):
            lines.append(f"An order that may trade both ways: {self.bound_bps:.4f} bps.")
        lines.append(f"{title}{self.accuracy}, {self.seconds:.1f} s.")
        lines.append("Bps of the arrival notional; the permanent cost, which no schedule changes, is left out.")
        lines.append(described_sources(scenario).capitalize() + ".")
        capped = scenario.max_participation is not None
        shares = " ".join(f"{100.0 * share:.2f}" for share in (self.fractions if capped else self.schedule))
        lines.append(f"best fixed schedule [% of {'what remains, up to the cap' if capped else 'the order'}]: {shares}")
        return "\n".join(lines)

    def _tables(self, best: float) -> list[str]:
        """Return the objectives beside J*, and J* for each regime of the start."""
        known = [
            ("TWAP", self.twap_bps),
            ("best fixed schedule", self.open_loop_bps),
            ("regime observed one slice late", self.regime_blind_bps),
            ("optimum J*", best),
            ("unknowns told", self.told_bps),
        ]
        cells = [
            ["", name, f"{value:.4f}", f"{value - best:.4f}", f"{100.0 * (value - best) / abs(best):.2f}" if best else "-"]
            for name, value in known
            if value is not None
        ]
        starts = [["", name, f"{value:.4f}"] for name, value in self.by_regime.items()]
        starts.append(["", "stationary", f"{self.stationary_bps:.4f}"])
        return [
            text_table(["", "objective J", "bps", "above J*", "%"], cells),
            "",
            text_table(["", "order that starts in", "J* [bps]"], starts),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the solution without its policy as plain values for JSON."""
        by_regime: dict[str, float | None] = dict(self.by_regime)
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "method": self.method,
            "reason": self.reason,
            "optimum_bps": {**by_regime, "stationary": self.stationary_bps, "start": self.optimum_bps},
            "told_bps": self.told_bps,
            "bound_bps": self.bound_bps,
            "upper_bps": self.upper_bps,
            "open_loop_bps": self.open_loop_bps,
            "regime_blind_bps": self.regime_blind_bps,
            "twap_bps": self.twap_bps,
            "relative_error": self.relative_error,
            "seconds": self.seconds,
            "schedule": [float(share) for share in self.schedule],
        }


def solve(scenario: ScenarioLike, *, cached: bool = True) -> Solution:
    """Solve a scenario, or read its solution from the cache.

    Args:
        scenario: A name, a dict, a path or a scenario.
        cached: Whether to read and write the cache.
    """
    scenario = get_scenario(scenario)
    return _solve_cached(scenario.to_toml(), scenario.hash) if cached else _solve(scenario)


def optimum(scenario: ScenarioLike) -> Optimum:
    """Solve a scenario (see :func:`solve`) and return the reference values for a board."""
    return solve(scenario).reference


@lru_cache(maxsize=16)
def _solve_cached(text: str, scenario_hash: str) -> Solution:
    """Return the solution of a scenario as TOML from the cache, or solve the scenario and cache the solution."""
    scenario = Scenario.from_toml(text)
    found = _read_cache(scenario)
    if found is None:
        found = _solve(scenario)
        _write_cache(found)
    return found


def schedule_bps(scenario: ScenarioLike, schedule: Any = None, *, fractions: Any = None) -> float:
    """Compute the expected objective of a fixed schedule without simulation, bps of the arrival notional.

    Give the schedule in one of two forms, as in :class:`Solution`. A participation cap carries the excess shares forward.

    Args:
        scenario: A scenario that can be solved exactly.
        schedule: Share of the order to trade in each slice, shape (slices,), summing to 1.
        fractions: Fraction of the remaining shares to trade in each slice, shape (slices,). Where the scenario completes the
            order, the last slice trades all of them.

    Raises:
        ValueError: The scenario cannot be solved exactly, not exactly one form is given, the shares or fractions are not one
            number in [0, 1] for each slice, or the shares do not sum to 1.
    """
    scenario = get_scenario(scenario)
    market = build_market(scenario)
    reason = unsolved(market)
    if reason:
        raise ValueError(f"scenario {scenario.name!r} must be solvable exactly, but {reason}")
    if (schedule is None) == (fractions is None):
        raise ValueError(
            f"schedule (shares of the order) or fractions (of the remaining shares) must be given, and not both, "
            f"got schedule={schedule!r} and fractions={fractions!r}"
        )
    checked = _check_fractions(market, fractions) if schedule is None else _check_schedule(market, schedule)
    return schedule_objective(build_problem(market, FINE.signal, learn=False), checked) * bps_of(market)


def _check_fractions(market: Market, fractions: Any) -> Floats:
    """Validate fractions of the remaining shares."""
    unit = "fraction of the remaining shares"
    return np.array(check_numbers("fractions", fractions, low=0.0, high=1.0, unit=unit, length=market.slices))


def _check_schedule(market: Market, schedule: Any) -> Floats:
    """Validate shares of the order and return them as fractions of the remaining shares; 1 where no shares remain."""
    unit = "fraction of the order"
    shares = np.array(check_numbers("schedule", schedule, low=0.0, high=1.0, unit=unit, length=market.slices))
    if abs(shares.sum() - 1.0) > 1e-9:
        raise ValueError(
            f"schedule must sum to 1 (shares of the order), got a sum of {shares.sum():.10g}; pass fractions=... for "
            "fractions of the remaining shares"
        )
    left = np.cumsum(shares[::-1])[::-1]
    return np.asarray(np.divide(shares, left, out=np.ones_like(shares), where=left > 0.0))


def _solve(scenario: Scenario) -> Solution:
    """Solve a scenario by its exact method, or compute bounds if there is none."""
    start, market = time.perf_counter(), build_market(scenario)
    if unsolved(market):
        return _solve_bounds(market, start)
    with progress(market.slices * 4, f"solve {scenario.name}") as advance:
        return _solve_exactly(market, start, lambda: advance(1))


def _solve_bounds(market: Market, start: float) -> Solution:
    """Compute the bounds of a market for which :func:`unsolved` gives a reason; `start` as in :func:`_solve_exactly`."""
    upper = open_loop = twap = None
    fractions = np.empty(0)
    if volume_alone(market):
        problem, even = build_problem(market, FINE.signal, learn=False), 1.0 / np.arange(market.slices, 0, -1)
        twap = schedule_objective(problem, even) * bps_of(market)
        upper = min(ignoring_bps(market), _learning_some(market), twap)
        if not market.numbers.spec.capped:
            fractions, open_loop, _ = schedules(problem, lambda: None)
            open_loop = min(open_loop * bps_of(market), twap)
            upper = min(upper, open_loop)
    return Solution(
        scenario=market.scenario,
        method="bound",
        reason=unsolved(market),
        by_regime={},
        optimum_bps=None,
        stationary_bps=None,
        told_bps=told_bps(market) if unknowns_alone(market) else None,
        bound_bps=lower_bound(market),
        upper_bps=upper,
        open_loop_bps=open_loop,
        regime_blind_bps=None,
        twap_bps=twap,
        relative_error=None,
        seconds=time.perf_counter() - start,
        fractions=fractions,
        policy=None,
    )


def _learning_some(market: Market) -> float:
    """Return the least objective of the optimal policies that learn some unknowns and take the mean of the others, bps.

    The cost of a policy that ignores the evidence on drift or temporary impact is linear in them: its mean is that at their
    mean. The result is an upper bound on J*; infinity where no such market is solved.
    """
    scenario, least = market.scenario, math.inf
    for known in ({"temp_impact_sd": 0.0}, {"temp_impact_sd": 0.0, "drift_sd": 0.0, "kyle_sd": 0.0}):
        part = build_market(replace(scenario, **known))  # type: ignore[arg-type]
        if part.scenario.unknown and part.scenario.unknown != scenario.unknown and not unsolved(part):
            best = best_of(part)
            least = min(least, best.value + best.error * abs(best.value))
    return least


def _solve_exactly(market: Market, start: float, tick: Callable[[], None]) -> Solution:
    """Solve a market for which :func:`unsolved` gives no reason.

    Args:
        market: The market.
        start: Time at which solving started, in seconds of `time.perf_counter`.
        tick: Called after each step, to report progress.
    """
    scenario, bps = market.scenario, bps_of(market)
    regimes, best = scenario.regimes, best_of(market, tick)
    value, error, grid = best.value, best.error, best.grid
    fractions, open_loop, twap = schedules(build_problem(market, grid.signal, learn=False), tick)
    twap = float(_within(twap * bps, value, math.inf, error))
    open_loop = float(_within(open_loop * bps, value, twap, error))
    delayed = value
    if market.regimes > 1:
        problem = build_problem(market, grid.signal)
        delayed_values = solve_delayed(problem, grid, tick).values
        delayed = float(_within(delayed_values[0] @ problem.signal_law * bps, value, open_loop, error))
    return Solution(
        scenario=scenario,
        method=best.method,
        reason="",
        by_regime=dict(zip(regimes.names, map(float, best.values), strict=True)),
        optimum_bps=value,
        stationary_bps=float(best.values @ regimes.stationary()),
        told_bps=told_bps(market) if scenario.unknown else None,
        bound_bps=None if best.two_sided is None else float(1e4 * best.two_sided.values @ regimes.start_law()),
        upper_bps=None,
        open_loop_bps=open_loop,
        regime_blind_bps=delayed,
        twap_bps=twap,
        relative_error=error,
        seconds=time.perf_counter() - start,
        fractions=fractions,
        policy=best.policy,
    )


class Best(NamedTuple):
    """The minimal objective of a market that is solved exactly."""

    method: str
    """Method, see :attr:`Solution.method`."""
    values: Floats
    """J* by the regime of the first slice, bps, shape (regimes,)."""
    value: float
    """J* for the scenario's distribution of the first regime, bps."""
    error: float
    """Relative error of J*."""
    policy: TablePolicy | LinearPolicy
    """Optimal policy."""
    grid: Grid
    """Grid on which the references are computed."""
    two_sided: Riccati | None
    """Optimum of an order that may trade both ways, if the market is linear."""


def best_of(market: Market, tick: Callable[[], None] = lambda: None) -> Best:
    """Compute the minimal objective of a market for which :func:`unsolved` gives no reason, by its exact method.

    Args:
        market: The market.
        tick: Called after each step, to report progress.
    """
    two_sided = solve_two_sided(market)
    policy: TablePolicy | LinearPolicy
    grid = FINE
    if two_sided is not None and keeps_one_side(two_sided):
        method, error = "Riccati", 0.0
        values, policy = 1e4 * two_sided.values, LinearPolicy(two_sided.gains, two_sided.by_flow)
    elif market.numbers.spec.unknown_slope:
        method = "dynamic programming on the log-odds"
        best, error, problem, table = solve_two_points(market)
        values, policy = np.array([best * bps_of(market)]), table_policy(problem, table)
    elif is_separable(market):
        method = "recursion in the belief"
        best, error, problem, table = solve_separable(market)
        values, policy = np.array([best * bps_of(market)]), table_policy(problem, table)
    else:
        method = "dynamic programming"
        values, error, problem, table, grid = solve_to_tolerance(market, tick)
        policy = table_policy(problem, table)
        if two_sided is not None:
            values = _within(values, 1e4 * two_sided.values, math.inf, error)
    value = float(values @ market.scenario.regimes.start_law())
    return Best(method, values, value, error, policy, grid, two_sided)


def even_bps(market: Market, best: Best) -> float:
    """Return the objective of TWAP in a market whose minimal objective is known, bps."""
    problem = build_problem(market, best.grid.signal, learn=False)
    even = 1.0 / np.arange(market.slices, 0, -1)
    return float(_within(schedule_objective(problem, even) * bps_of(market), best.value, math.inf, best.error))


def _within(value: Any, low: Any, high: Any, error: float) -> Floats:
    """Clip values to bounds that hold in theory where they violate a bound by at most their relative error.

    A larger violation is a fault of the solver and stays visible.
    """
    clipped = np.clip(value, low, high)
    return np.asarray(np.where(np.abs(clipped - value) <= max(error, _EXACT) * np.abs(value), clipped, value))


# --- the cache


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return a hash of the code that a solution depends on, so that changed code invalidates cached solutions."""
    total = hashlib.sha256()
    for path in _sources():
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()[:12]


def _sources() -> list[Path]:
    """Return the source files of the solver and of the market, and of the orders and records that both use."""
    folders = (Path(__file__).parent, Path(hyperexec_env.market.__file__).parent)
    modules = (hyperexec_env.orders.__file__, hyperexec_env.records.__file__)
    return [*(path for folder in folders for path in sorted(folder.glob("*.py"))), *map(Path, filter(None, modules))]


def _cache_file(scenario: Scenario) -> Path:
    return cache_folder() / f"optimum-{scenario.hash}-{code_hash()}.npz"


def _write_cache(solution: Solution) -> None:
    """Write a solution to the cache; if that fails, a line says so and the scenario is solved again next time."""
    about = {**solution.to_dict(), "stationary": solution.stationary_bps, "by_regime": solution.by_regime}
    arrays: dict[str, Any] = {"fractions": solution.fractions}
    policy = solution.policy
    if isinstance(policy, LinearPolicy):
        about["by_flow"] = policy.by_flow
        arrays["gains"] = policy.gains
    elif policy is not None:
        about["axes"] = [tuple(policy.table.remaining), tuple(policy.table.transient)]
        about["nodes"] = len(policy.problem.signal)
        arrays.update(values=policy.table.values, table=policy.table.fractions)
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)
    write_cached(_cache_file(solution.scenario), content.getvalue())


def _read_cache(scenario: Scenario) -> Solution | None:
    """Return the cached solution of a scenario; None if there is no intact one."""
    content = read_cached(_cache_file(scenario))
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        arrays = {name: stored[name] for name in stored.files if name != "about"}
    return _restore(scenario, about, arrays)


def _restore(scenario: Scenario, about: dict[str, Any], arrays: dict[str, Any]) -> Solution:
    """Build the solution from the contents of a cache file."""
    policy: TablePolicy | LinearPolicy | None = None
    if "gains" in arrays:
        policy = LinearPolicy(arrays["gains"], bool(about["by_flow"]))
    elif "table" in arrays:
        remaining, transient = (Axis(*axis) for axis in about["axes"])
        problem = build_problem(build_market(scenario), int(about["nodes"]))
        policy = table_policy(problem, Table(arrays["values"], arrays["table"], remaining, transient))
    return Solution(
        scenario=scenario,
        method=about["method"],
        reason=about["reason"],
        by_regime=about["by_regime"],
        optimum_bps=about["optimum_bps"]["start"],
        stationary_bps=about["stationary"],
        told_bps=about["told_bps"],
        bound_bps=about["bound_bps"],
        upper_bps=about["upper_bps"],
        open_loop_bps=about["open_loop_bps"],
        regime_blind_bps=about["regime_blind_bps"],
        twap_bps=about["twap_bps"],
        relative_error=about["relative_error"],
        seconds=about["seconds"],
        fractions=arrays["fractions"],
        policy=policy,
    )
