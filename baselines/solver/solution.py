"""Solve a scenario: choose the exact method, compute J* and the reference objectives, and cache the solution."""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

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
from hyperexec_env.market.told import PRIORS
from hyperexec_env.progress import progress

from .. import replan
from .belief import told_markets
from .best import best_of, within
from .bounds import (
    ignoring_bps,
    learning_one,
    learning_some_bps,
    lower_bound,
    partly_told,
    replanned_bps,
    unknowns_alone,
    volume_alone,
)
from .dynamic import FINE, Table, solve_delayed
from .objectives import bps_of, schedule_objective, schedules, told_bps
from .policies import LinearPolicy, SchedulePolicy, TablePolicy, table_policy
from .problem import build_problem, unsolved
from .spline import Axis

__all__ = ["Solution", "code_hash", "optimum", "schedule_bps", "solve"]

Floats = NDArray[np.float64]

_EVIDENCE: Final = {
    "volume_level_sd": "volumes",
    "drift_sd": "prices",
    "temp_impact_sd": "fills",
    "kyle_sd": "flows",
}
"""Observations that tell each unknown."""


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
    """Upper bound on J*, the objective of a policy that ignores past volumes and what else tells unknowns, or of `replan`; None
    if solved or not known."""
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
    bound_of: str
    """What the policy of the lower bound is told and learns, in words; empty if solved, or if that is no policy."""
    upper_of: str
    """Policy of the upper bound, in words; empty if there is none."""
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
        told = f" ({self.bound_of})" if self.bound_of else ""
        return f"{lower}{told} and at most {self.upper_bps:.4f} bps ({self.upper_of})"

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
            told_bps=self.told_bps,
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
            "bound_of": self.bound_of,
            "upper_of": self.upper_of,
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
    fractions, upper_of, unknown = np.empty(0), "", market.scenario.unknown
    ignored = " and ".join(_EVIDENCE[name] for name in unknown) or "volumes"
    if volume_alone(market):
        problem, even = build_problem(market, FINE.signal, learn=False), 1.0 / np.arange(market.slices, 0, -1)
        twap = schedule_objective(problem, even) * bps_of(market)
        upper, upper_of = min(ignoring_bps(market), learning_some_bps(market), twap), f"policy that ignores past {ignored}"
        if not market.numbers.spec.capped:
            fractions, open_loop, _ = schedules(problem, lambda: None)
            open_loop = min(open_loop * bps_of(market), twap)
            upper = min(upper, open_loop)
            replanned = replanned_bps(market, SchedulePolicy(fractions), open_loop) if unknown else math.inf
            if replanned < upper:
                upper, upper_of = replanned, "the policy replan, by simulation"
    partly, alone = partly_told(market), unknowns_alone(market)
    count = (len(told_markets(market)) if alone else 0) + sum(map(len, partly.values()))
    with progress(count, f"bound {market.scenario.name}") as advance:
        told = told_bps(market, lambda: advance(1)) if alone else None
        some, learned = learning_one(partly, lambda: advance(1))
    bound = lower_bound(market) if told is None else told  # where the unknowns alone are unsolved, the bound is to tell them
    return Solution(
        scenario=market.scenario,
        method="bound",
        reason=unsolved(market),
        by_regime={},
        optimum_bps=None,
        stationary_bps=None,
        told_bps=told,
        bound_bps=max(bound, some),
        upper_bps=upper,
        open_loop_bps=open_loop,
        regime_blind_bps=None,
        twap_bps=twap,
        relative_error=None,
        seconds=time.perf_counter() - start,
        bound_of=_told(unknown, learned if some > bound else ""),
        upper_of=upper_of,
        fractions=fractions,
        policy=None,
    )


def _told(unknown: Iterable[str], learned: str) -> str:
    """Return what a policy is told of the unknowns, and the one that it learns, in words; the empty string without unknowns."""
    told = " and ".join(PRIORS[name].name for name in unknown if name != learned)
    return f"{told} told{f', {PRIORS[learned].name} learned' if learned else ''}" if unknown else ""


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
    twap = float(within(twap * bps, value, math.inf, error))
    open_loop = float(within(open_loop * bps, value, twap, error))
    delayed = value
    if market.regimes > 1:
        problem = build_problem(market, grid.signal)
        delayed_values = solve_delayed(problem, grid, tick).values
        delayed = float(within(delayed_values[0] @ problem.signal_law * bps, value, open_loop, error))
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
        bound_of="",
        upper_of="",
        fractions=fractions,
        policy=best.policy,
    )


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
    modules = (hyperexec_env.orders.__file__, hyperexec_env.records.__file__, replan.__file__)
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
        bound_of=about["bound_of"],
        upper_of=about["upper_of"],
        fractions=arrays["fractions"],
        policy=policy,
    )
