"""Solve a scenario with venues: the method that is exact for it, J*, and what its venues and their recalibration are worth."""

from __future__ import annotations

import io
import json
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.table import text_table
from hyperexec_env.files import cache_folder, read_cached, write_cached
from hyperexec_env.market.venue_path import VenueMarket, build_venues
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario, get_venues
from hyperexec_env.progress import progress

from .dark import is_bernoulli, solve_bernoulli
from .dark_bounds import PATHS, simulated_bound
from .dark_dynamic import DarkTables, solve_to_tolerance
from .dynamic import Table
from .solution import code_hash
from .solution import solve as solve_market
from .spline import Axis

__all__ = ["Naive", "VenueSolution", "naive", "recalibrate", "solve_venues", "unsolved_venues"]

Floats = NDArray[np.float64]

_RECALIBRATED: Final = 2e-3
"""Relative difference of the two optima up to which a scenario counts as recalibrated."""
_RELAXED: Final = "hidden venues merged, lit shares at their mean"
_ALPHA_ERROR: Final = 1e-4
"""Relative difference of the two optima at which a recalibration ends."""


@dataclass(frozen=True, eq=False)
class VenueSolution:
    """Optimum of a scenario with venues and reference objectives, in bps of the arrival notional."""

    scenario: VenueScenario
    method: str
    """"Bernoulli Riccati", "dynamic programming", or "none" where the scenario is not solved exactly."""
    reason: str
    """Reason why the scenario is not solved exactly; empty if it is solved."""
    by_regime: dict[str, float]
    """J* by the regime of the first slice; empty if not solved."""
    optimum_bps: float | None
    """J* for the distribution of the first regime."""
    lit_only_bps: float | None
    """J* of the same lit venues without the hidden ones; None if not solved."""
    plain_bps: float | None
    """J* of the market without venues, with the impact from before the recalibration; None if not solved."""
    lower_bps: float | None
    """Lower bound on J* where the scenario is not solved exactly: J* of the relaxation
    (:mod:`~hyperexec_env.baselines.solver.dark_relaxed`) minus its error; otherwise None."""
    upper_bps: float | None
    """Upper bound on J* where the scenario is not solved exactly: mean objective of the policy of the relaxation in simulation;
    otherwise None."""
    upper_error_bps: float | None
    """Half-width of the 95 % interval of `upper_bps`."""
    relative_error: float | None
    """Relative error of J*: the largest difference to a coarser grid over the first regimes; 0 if exact to rounding."""
    seconds: float
    """Time to solve the scenario, seconds."""
    gains: Floats = field(repr=False)
    """Coefficients of (lit, posted) fractions in (remaining fraction, displacement, 1), shape (slices, regimes, 2, 3); empty
    unless the method is "Bernoulli Riccati"."""
    tables: DarkTables | None = field(repr=False)
    """Optimal requests of the market, or of its relaxation, on a grid; None if the method is "Bernoulli Riccati"."""

    @property
    def exact_tables(self) -> DarkTables:
        """The optimal requests on a grid.

        Raises:
            ValueError: The scenario is not solved exactly, or not on a grid.
        """
        if self.tables is None or self.optimum_bps is None:
            raise ValueError(
                f"there is no optimal policy for {self.scenario.name}: {self.reason or self.method}; `relaxed` is one near it"
            )
        return self.tables

    @property
    def bounds(self) -> str:
        """Describe why there is no exact optimum, and the bounds on J*; for a scenario that is not solved exactly."""
        return (
            f"not solved exactly: {self.reason}. J* is at least {self.lower_bps:.4f} bps ({_RELAXED}), and at most "
            f"{self.upper_bps:.4f} +- {self.upper_error_bps:.4f} bps (the policy of that market, 95 % in {PATHS:,} episodes)"
        )

    @property
    def accuracy(self) -> str:
        """Describe the method and the error of J*."""
        exact = f"relative error {self.relative_error:.1e} from two grids" if self.relative_error else "exact"
        return f"{self.method}, {exact}"

    @property
    def saved(self) -> float | None:
        """Share of the cost without hidden venues that they save."""
        if self.optimum_bps is None or not self.lit_only_bps:
            return None
        return 1.0 - self.optimum_bps / self.lit_only_bps

    def __str__(self) -> str:
        """Return J* and the reference objectives as text."""
        scenario, best = self.scenario, self.optimum_bps
        title = f"{scenario.name} ({scenario.hash}), {', '.join(scenario.names)}: "
        known = [("lit venues only", self.lit_only_bps), ("optimum J*", best)]
        if best is None:
            known[1:] = [("upper bound on J*", self.upper_bps), ("lower bound on J*", self.lower_bps)]
        least = known[-1][1] or 0.0
        cells = [["", name, f"{value:.4f}", f"{value - least:.4f}"] for name, value in known if value is not None]
        lines = [text_table(["", "objective J", "bps", "above the last"], cells), ""]
        if len(self.by_regime) > 1:
            starts = [["", name, f"{value:.4f}"] for name, value in self.by_regime.items()]
            lines += [text_table(["", "order that starts in", "J* [bps]"], starts), ""]
        lines.append(f"{title}{self.bounds if best is None else self.accuracy}, {self.seconds:.1f} s.")
        if scenario.hidden and self.saved is not None:
            lines.append(f"Hidden liquidity saves {100.0 * self.saved:.1f} % of the cost of the lit venues alone.")
        lines.append(recalibration_line(self))
        lines.append("Bps of the arrival notional; the permanent cost, which no schedule changes, is left out.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the solution without its policy as plain values for JSON."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "scenario_hash": scenario.hash,
            "venues": list(scenario.names),
            "method": self.method,
            "reason": self.reason,
            "optimum_bps": {**self.by_regime, "start": self.optimum_bps},
            "lit_only_bps": self.lit_only_bps,
            "plain_bps": self.plain_bps,
            "lower_bps": self.lower_bps,
            "upper_bps": self.upper_bps,
            "upper_error_bps": self.upper_error_bps,
            "published_alpha": scenario.published_alpha,
            "temp_impact_alpha": scenario.market.temp_impact_alpha,
            "relative_error": self.relative_error,
            "seconds": self.seconds,
        }


def recalibration_line(solution: VenueSolution) -> str:
    """Return one line that says whether temporary impact is recalibrated to the venues of a scenario."""
    scenario, best, plain = solution.scenario, solution.optimum_bps, solution.plain_bps
    alpha, published = scenario.market.temp_impact_alpha, scenario.published_alpha
    if published is None:
        return (
            "Temporary impact is not recalibrated: fitted impact already contains dark and resting fills, so what venues save "
            "here is counted twice."
            if scenario.hidden
            else "No hidden venue, so nothing is recalibrated."
        )
    stated = f"temp_impact_alpha is {alpha:.6g} instead of the published {published:g}"
    if best is None or plain is None:
        return f"Recalibrated, at values that are solved exactly: {stated}."
    if abs(best - plain) > _RECALIBRATED * abs(plain):
        return (
            f"Recalibrated at other values: {stated}, but here the optimum with venues costs {best:.4f} bps and the optimum "
            f"without them {plain:.4f} bps; `hyperexec_env.recalibrate` brings them together."
        )
    return (
        f"Recalibrated: {stated}, so that the optimum with venues costs what the optimum without them cost ({plain:.4f} bps). "
        "What a venue is worth is what a bad router loses."
    )


@dataclass(frozen=True)
class Naive:
    """The optimum with the published impact, which counts hidden fills twice, beside the recalibrated one."""

    scenario: VenueScenario
    naive_bps: float
    """J* with the published temporary impact and the venues on top."""
    optimum_bps: float
    """J* of the recalibrated scenario."""
    plain_bps: float
    """J* without venues."""

    def __str__(self) -> str:
        """Return the numbers and why the naive one is wrong."""
        scenario = self.scenario
        published = scenario.published_alpha or 0.0
        cells = [
            ["", "without venues", f"{published:.6g}", f"{self.plain_bps:.4f}"],
            ["", "with venues, naive", f"{published:.6g}", f"{self.naive_bps:.4f}"],
            ["", "with venues, recalibrated", f"{scenario.market.temp_impact_alpha:.6g}", f"{self.optimum_bps:.4f}"],
        ]
        gift = 100.0 * (1.0 - self.naive_bps / self.plain_bps) if self.plain_bps else 0.0
        return "\n".join(
            [
                text_table(["", "optimum", "temp_impact_alpha", "J* [bps]"], cells),
                "",
                f"The naive number is {gift:.1f} % lower, and wrong: the published impact was fitted to whole orders of",
                "brokers who already used dark pools and resting orders, so their savings are in it. Venues on top count them",
                "twice, a gift to every policy. Recalibrated, impact rises until the optimum costs what it did without venues.",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values for JSON."""
        scenario = self.scenario
        return {
            "scenario": scenario.name,
            "scenario_hash": scenario.hash,
            "published_alpha": scenario.published_alpha,
            "temp_impact_alpha": scenario.market.temp_impact_alpha,
            "plain_bps": self.plain_bps,
            "naive_bps": self.naive_bps,
            "optimum_bps": self.optimum_bps,
        }


def naive(venues: VenueLike, *, cached: bool = True) -> Naive:
    """Return the optimum of a scenario with its published impact beside the recalibrated optimum.

    Raises:
        ValueError: The scenario is not recalibrated, or not solved exactly.
    """
    scenario = get_venues(venues)
    if scenario.published_alpha is None:
        raise ValueError(
            f"published_alpha must be given for a naive optimum, got none for {scenario.name!r}: its impact is not "
            "recalibrated, so its optimum is the naive one; `hyperexec_env.recalibrate` raises it"
        )
    found, before = solve_venues(scenario, cached=cached), solve_venues(scenario.naive, cached=cached)
    if found.optimum_bps is None or before.optimum_bps is None or found.plain_bps is None:
        raise ValueError(f"scenario {scenario.name!r} must be solvable exactly, but {found.reason}")
    return Naive(scenario, before.optimum_bps, found.optimum_bps, found.plain_bps)


def recalibrate(venues: VenueLike, *, tolerance: float = _ALPHA_ERROR, cached: bool = True) -> VenueScenario:
    """Return the scenario with temporary impact raised until its optimum costs what the optimum without venues costs.

    The result keeps the impact from before in `published_alpha`. The search is the secant method, whose steps each solve the
    scenario.

    Args:
        venues: A name, a dict, a path or a scenario with venues.
        tolerance: Relative difference of the two optima at which the search ends.
        cached: Whether to read and write solutions in the cache.

    Raises:
        ValueError: The scenario is not solved exactly, or no impact brings the optima together.
    """
    scenario = get_venues(venues)
    published, plain = scenario.plain.temp_impact_alpha, solve_market(scenario.plain, cached=cached).optimum_bps

    def tried(alpha: float) -> VenueScenario:
        return replace(scenario.with_market(temp_impact_alpha=alpha), published_alpha=published)

    def excess(alpha: float) -> float:
        found = solve_venues(tried(alpha), cached=cached)
        if found.optimum_bps is None or plain is None:
            raise ValueError(f"scenario {scenario.name!r} must be solvable exactly, but {found.reason}")
        return found.optimum_bps - plain

    low, at_low = published, excess(published)
    alpha = published * (1.0 - at_low / (plain or 1.0))
    for _ in range(20):
        found = excess(alpha)
        if abs(found) <= tolerance * abs(plain or 1.0):
            return tried(alpha)
        if found == at_low:
            break
        low, at_low, alpha = alpha, found, max(alpha - found * (alpha - low) / (found - at_low), 0.0)
    raise ValueError(f"temp_impact_alpha cannot make the optimum of {scenario.name!r} cost {plain:g} bps, got {alpha:g}")


def unsolved_venues(market: VenueMarket) -> str:
    """Return why a scenario with venues is not solved exactly; empty if it is."""
    scenario = market.scenario
    if len(scenario.hidden) > 1:
        return "several hidden venues need one more search for each"
    if any(venue.share_noise for venue in scenario.lit) and not scenario.equal_terms:
        return "with different fees or depths the moving shares of the lit venues are part of the state"
    return ""


def solve_venues(venues: VenueLike, *, cached: bool = True) -> VenueSolution:
    """Solve a scenario with venues, or read its solution from the cache.

    Args:
        venues: A name, a dict, a path or a scenario; a scenario without venues has one.
        cached: Whether to read and write the cache.
    """
    scenario = get_venues(venues)
    return _solve_cached(scenario.text, scenario.hash) if cached else _solve(scenario, cached=False)


@lru_cache(maxsize=16)
def _solve_cached(text: str, scenario_hash: str) -> VenueSolution:
    """Return the solution of a scenario as TOML from the cache, or solve the scenario and cache the solution."""
    scenario = VenueScenario.from_toml(text)
    found = _read_cache(scenario)
    if found is None:
        found = _solve(scenario, cached=True)
        _write_cache(found)
    return found


def _solve(scenario: VenueScenario, cached: bool) -> VenueSolution:
    """Solve a scenario by its exact method."""
    start, market = time.perf_counter(), build_venues(scenario)
    reason, law, bps = unsolved_venues(market), scenario.regimes.start_law(), 1e4 / scenario.market.notional
    known: dict[str, Any] = {
        "scenario": scenario,
        "method": "none",
        "reason": reason,
        "by_regime": {},
        "optimum_bps": None,
        "lit_only_bps": _lit_only(market, cached),
        "plain_bps": solve_market(scenario.plain, cached=cached).optimum_bps,
        "lower_bps": None,
        "upper_bps": None,
        "upper_error_bps": None,
        "relative_error": None,
        "gains": np.empty(0),
        "tables": None,
    }
    exact = solve_bernoulli(market) if is_bernoulli(market) else None
    if exact is not None and exact.excess == 0.0:
        values = exact.values * 1e4 / scenario.market.arrival_price
        known |= {"method": "Bernoulli Riccati", "relative_error": 0.0, "gains": exact.gains}
    else:
        with progress(2 * market.slices, f"solve {scenario.name}") as advance:
            money, error, tables = solve_to_tolerance(market, lambda: advance(1))
        values = money * bps
        known |= {"method": "none" if reason else "dynamic programming", "relative_error": error, "tables": tables}
    best = float(values @ law)
    if reason:
        upper, spread = simulated_bound(market, tables)
        known |= {"lower_bps": best - error * abs(best), "upper_bps": upper, "upper_error_bps": spread, "relative_error": None}
    else:
        known |= {
            "optimum_bps": best,
            "by_regime": dict(zip(scenario.regimes.names, map(float, values), strict=True)),
        }
        known["lit_only_bps"] = known["lit_only_bps"] if scenario.hidden else best
    return VenueSolution(**{**known, "seconds": time.perf_counter() - start})


def _lit_only(market: VenueMarket, cached: bool) -> float | None:
    """Return J* of the lit venues alone, bps; None if there are no others. Lit venues of equal terms are one market."""
    scenario = market.scenario
    if not scenario.hidden:
        return None
    first = scenario.lit[0]
    if not scenario.equal_terms:
        alone = replace(scenario, venues=scenario.lit, published_alpha=None)
        return (solve_venues(alone) if cached else _solve(alone, cached=False)).optimum_bps
    whole = replace(scenario.market, temp_impact_alpha=scenario.market.temp_impact_alpha * first.temporary)
    if first.half_spread_bps is not None:
        whole = replace(whole, half_spread_bps=first.half_spread_bps)
    value = solve_market(whole, cached=cached).optimum_bps
    return None if value is None else value + 1e4 * first.fee / scenario.market.arrival_price


# --- cache


def _cache_file(scenario: VenueScenario) -> Any:
    return cache_folder() / f"venues-{scenario.hash}-{code_hash()}.npz"


def _write_cache(solution: VenueSolution) -> None:
    """Write a solution to the cache; if that fails, a line says so and the scenario is solved again next time."""
    about = {**solution.to_dict(), "by_regime": solution.by_regime, "best": solution.optimum_bps}
    arrays: dict[str, Any] = {"gains": solution.gains}
    if solution.tables is not None:
        lit = solution.tables.lit
        about["axes"] = [tuple(lit.remaining), tuple(lit.transient)]
        arrays |= {"values": lit.values, "lit": lit.fractions, "total": solution.tables.total.fractions}
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)
    write_cached(_cache_file(solution.scenario), content.getvalue())


def _read_cache(scenario: VenueScenario) -> VenueSolution | None:
    """Return the cached solution of a scenario; None if there is no intact one."""
    content = read_cached(_cache_file(scenario))
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        arrays = {name: stored[name] for name in stored.files if name != "about"}
    tables = None
    if "lit" in arrays:
        axes = [Axis(*axis) for axis in about["axes"]]
        tables = DarkTables(*(Table(arrays["values"], arrays[name], *axes) for name in ("lit", "total")))
    plain = solve_market(scenario.plain).optimum_bps  # the hash leaves the published impact out
    return VenueSolution(
        scenario=scenario,
        method=about["method"],
        reason=about["reason"],
        by_regime=about["by_regime"],
        optimum_bps=about["best"],
        lit_only_bps=about["lit_only_bps"],
        plain_bps=plain,
        lower_bps=about["lower_bps"],
        upper_bps=about["upper_bps"],
        upper_error_bps=about["upper_error_bps"],
        relative_error=about["relative_error"],
        seconds=about["seconds"],
        gains=arrays["gains"],
        tables=tables,
    )
