r"""A close bracket of J* of a hidden regime: the policy `belief-grid` above, information relaxation below.

Below, each path is solved in hindsight (Brown, Smith and Sun 2010): a trader who knows the beliefs q_0 ... q_{N-1} of the path
pays the mean cost of each slice given its belief, and for the foresight a penalty of mean zero,

.. math:: \sum_k x_{k+1} \left( E[p_{k+1}(q_{k+1}) \mid q_k] - p_{k+1}(q_{k+1}) \right),

with p the derivative in x of an approximate value function at the state that the policy reaches (Brown and Smith 2014: the
penalty is linear, the problem of each path stays convex, and with the exact value function its minimum is J* on every path).
For any p the mean of the minima is a lower bound. p is linear in the belief, fitted to the grid of :mod:`.hidden`, so that its
mean given the belief before is exact.

A path costs a power sum and a quadratic form in its trades n: the displacement that slice k meets is the mean, given everything
before it, of what is left of those of the slices j before. An interior-point method minimises over the simplex of n, and each
minimum is replaced by its bound from the gradient, so that an unfinished minimisation widens the bracket.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_seed
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.belief import move_regimes
from hyperexec_env.market.hidden import follow_regimes
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import Market, build_market

from ..filtered import BeliefGrid
from .dynamic import place
from .hidden import HiddenPlan, plan_hidden
from .objectives import bps_of
from .problem import mean_slice, mode_slices
from .solution import Solution, solve
from .spline import surfaces

__all__ = ["HiddenBracket", "bracket_hidden"]

Floats = NDArray[np.float64]

EPISODES: Final = 2_000
_AT_ONCE: Final = 1_000_000
"""Numbers of the quadratic forms that are held at once."""
_WIDTH: Final = 1.96
"""Half the width of a 95 % interval, standard errors."""
_NEWTON, _PRECISION = 100, 1e-6
"""Newton steps at most, and the distance from the minimum that ends them, over the objective of an even schedule."""


@dataclass(frozen=True)
class HiddenBracket:
    """J* of a policy from which the regime is hidden: bounds, bps of the arrival notional."""

    scenario: Scenario
    episodes: int
    """Simulated episodes."""
    policy_bps: float
    """Mean objective of the policy `belief-grid`, an upper bound on J*."""
    policy_error: float
    """Its standard error."""
    bound_bps: float
    """Mean of the relaxed minima, a lower bound on J*."""
    bound_error: float
    """Its standard error."""
    gap_bps: float
    """Mean distance of the two on the same paths."""
    gap_error: float
    """Its standard error."""
    solution: Solution
    """The references: best fixed schedule, regime observed one slice late, and regime observed."""
    seconds: float
    """Time of both bounds."""

    @property
    def low_bps(self) -> float:
        """Lower end of the bracket: 95 % below the lower bound."""
        return self.bound_bps - _WIDTH * self.bound_error

    @property
    def high_bps(self) -> float:
        """Upper end of the bracket: 95 % above the upper bound."""
        return self.policy_bps + _WIDTH * self.policy_error

    @property
    def closed(self) -> float | None:
        """Share of the way from the best fixed schedule to the lower bound that the policy goes; None with a single regime."""
        plan = self.solution.open_loop_bps
        alone = len(self.scenario.regimes) == 1
        return (
            None if plan is None or alone or not plan > self.bound_bps else (plan - self.policy_bps) / (plan - self.bound_bps)
        )

    def __str__(self) -> str:
        """Return the objectives as a table, and the share that is closed in words."""
        known = [
            ("best fixed schedule", self.solution.open_loop_bps, None),
            ("belief-grid, regime hidden", self.policy_bps, self.policy_error),
            ("lower bound, regime hidden", self.bound_bps, self.bound_error),
            ("regime observed one slice late", self.solution.regime_blind_bps, None),
            ("regime observed (J*)", self.solution.optimum_bps, None),
        ]
        cells = [
            ["", name, f"{value:.4f}", "" if error is None else f"+-{_WIDTH * error:.4f}"]
            for name, value, error in known
            if value is not None
        ]
        width, share = _WIDTH * self.gap_error, self.closed
        reach = "" if share is None else f", {100.0 * share:.1f} % of the way from the best fixed schedule to the bound"
        return "\n".join(
            [
                f"{self.scenario.name} with a hidden regime: J* from {self.low_bps:.4f} to {self.high_bps:.4f} bps (95 %)",
                "",
                text_table(["", "objective J", "bps", "95 %"], cells),
                "",
                f"belief-grid is at most {self.gap_bps:.4f} +-{width:.4f} bps above J* ({self.episodes:,} paired paths){reach}",
                f"{self.seconds:.1f} s",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the bracket as plain values for JSON."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("scenario", "solution")}
        ends = {"low_bps": self.low_bps, "high_bps": self.high_bps, "closed": self.closed}
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            **own,
            **ends,
            **_references(self.solution),
        }


def _references(solution: Solution) -> dict[str, float | None]:
    """Return the references of a solution by their names in JSON."""
    return {name: getattr(solution, name) for name in ("open_loop_bps", "regime_blind_bps", "optimum_bps")}


class _Path(NamedTuple):
    """What the filter says along some paths."""

    before: Floats
    """Probabilities of the regime of each slice given everything before it, shape (N, episodes, regimes)."""
    kept: Floats
    """Mean share of the displacement by slice j that is left in slice k, given everything before k, shape (episodes, N, N)."""


class Costs(NamedTuple):
    """Cost of the trades w (fractions of the order) on some paths: sum a w^(1 + beta) + w'Qw / 2 + b'w + c, bps."""

    beta: float
    power: Floats
    """a, shape (episodes, N)."""
    form: Floats
    """Q, symmetric, shape (episodes, N, N)."""
    linear: Floats
    """b, shape (episodes, N)."""
    constant: Floats
    """c, shape (episodes,)."""

    def value(self, trades: Floats) -> Floats:
        """Return the cost of trades of shape (episodes, N), shape (episodes,)."""
        quadratic = 0.5 * np.einsum("ei,eij,ej->e", trades, self.form, trades)
        return np.asarray(
            (self.power * trades ** (1.0 + self.beta) + self.linear * trades).sum(axis=1) + quadratic + self.constant
        )

    def slope(self, trades: Floats) -> Floats:
        """Return the gradient of the cost, shape (episodes, N)."""
        own = (1.0 + self.beta) * self.power * trades**self.beta + self.linear
        return np.asarray(own + np.einsum("eij,ej->ei", self.form, trades))


def bracket_hidden(scenario: ScenarioLike, episodes: int = EPISODES, seed: int = 0) -> HiddenBracket:
    """Return a bracket of J* of a scenario whose regime is hidden.

    Args:
        scenario: A name, a dict, a path or a scenario.
        episodes: Episodes to simulate; the first ones of a seed.
        seed: Seed of the episodes.

    Raises:
        ValueError: Fewer than 2 episodes, a seed that is no whole number, or the market has a cap, a signal, unknowns or a part
            that is not solved.
    """
    start, scenario, seed = time.perf_counter(), get_scenario(scenario), check_seed(seed)
    episodes, market = check_integer("episodes", episodes, low=2, high=1_000_000), build_market(scenario)
    plan, size = plan_hidden(market), max(1, _AT_ONCE // market.slices**2)
    groups = np.split(np.arange(episodes), range(size, episodes, size))
    pairs = np.concatenate([_bounds(plan, episode_keys(seed, numbers)) for numbers in groups], axis=1)
    seconds = time.perf_counter() - start
    upper, lower, gap = ((float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))) for x in (*pairs, pairs[0] - pairs[1]))
    return HiddenBracket(scenario, episodes, *upper, *lower, *gap, solve(scenario), seconds)


class _Recorder:
    """The policy, and the remaining shares that it met."""

    name = BeliefGrid.name

    def __init__(self) -> None:
        """Start without shares."""
        self.policy, self.remaining = BeliefGrid(), list[Floats]()

    def act(self, situation: Situation) -> Any:
        """Return the shares of the policy."""
        self.remaining.append(np.array(situation.remaining, dtype=float))
        return self.policy.act(situation)


def _bounds(plan: HiddenPlan, keys: NDArray[np.uint64]) -> Floats:
    """Return the penalised cost of the policy and the relaxed minimum on the paths of some keys, bps, shape (2, episodes)."""
    market, recorder = plan.problem.market, _Recorder()
    path = draw_path(market, keys, float(market.scenario.side))
    before, after = follow_regimes(market, path)
    beliefs = _Path(before, kept_displacement(market, before, after))
    roll(market, recorder, path, hidden=True)
    remaining = np.array([*recorder.remaining, np.zeros(len(keys))])
    trades = (remaining[:-1] - remaining[1:]).T
    slopes, control = _penalty(plan, beliefs, remaining, trades)
    costs = path_costs(plan, beliefs.before, beliefs.kept, slopes)
    shares = trades / market.scenario.quantity
    return np.array([costs.value(shares), least(costs)]) + control * bps_of(market)


def kept_displacement(market: Market, before: Floats, after: Floats) -> Floats:
    """Return `_Path.kept` from the probabilities of :func:`~hyperexec_env.market.hidden.follow_regimes`."""
    slices, episodes, regimes = before.shape
    transition = market.scenario.regimes.transition(market.tau)
    kept, mass = np.zeros((episodes, slices, slices)), np.zeros((episodes, slices, regimes))
    for k in range(1, slices):
        # mass: by the regime of slice k - 1, what is left at its start times the probability of the regime
        mass[:, k - 1] = before[k - 1]
        likely = np.divide(after[k - 1], before[k - 1], out=np.zeros_like(after[k - 1]), where=before[k - 1] > 0.0)
        mass[:, :k] = (mass[:, :k] * (likely * market.transient_decay)[:, None]) @ transition
        kept[:, :k, k] = mass[:, :k].sum(axis=2)
    return kept


def _penalty(plan: HiddenPlan, beliefs: _Path, remaining: Floats, trades: Floats) -> tuple[Floats, Floats]:
    """Return the price of each remaining share after a slice, shape (N, episodes), and a cost of mean zero, shape (episodes,).

    The two make up the surprise in a value function at the state of the policy: the price times the remaining shares is its
    linear part in them, the cost the rest, which no trade changes.
    """
    market = plan.problem.market
    impact, quantity = market.impact, market.scenario.quantity
    root_weights = np.sqrt(plan.weights)
    fit = np.linalg.lstsq(plan.points * root_weights[:, None], np.diag(root_weights), rcond=1e-8)[0]
    transition = market.scenario.regimes.transition(market.tau)
    prices, control = np.zeros((market.slices, len(trades))), np.zeros(len(trades))
    row = np.arange(len(fit))[:, None]
    for k, values in enumerate(plan.values):
        surface = surfaces(plan.table.remaining, plan.table.transient, np.tensordot(fit, values, 1))
        left, displaced = remaining[k + 1], (trades[:, :k] * beliefs.kept[:, :k, k]).sum(axis=1) + trades[:, k]
        transient = impact.transient_slope * displaced * (beliefs.before[k] @ market.transient_decay)
        root, share, largest = place(plan.problem, left, transient)
        shape = len(fit), len(left)
        value, by_root, by_share = surface.at(row, np.broadcast_to(root, shape), np.broadcast_to(share, shape), slopes=True)
        slope = by_root / (2.0 * quantity * np.maximum(root, 1e-9))
        if impact.transient_slope:
            slope = slope + impact.transient_slope * share * by_share / largest
        surprise = (beliefs.before[k + 1] - move_regimes(beliefs.before[k], transition)).T
        prices[k] = -(surprise * slope).sum(axis=0)
        control -= (surprise * (value - slope * left)).sum(axis=0)
    return prices, control


def path_costs(plan: HiddenPlan, before: Floats, kept: Floats, prices: Floats) -> Costs:
    """Return the cost of trades on paths: the mean of each slice given everything before it, and the penalty.

    Args:
        plan: The plan of the market.
        before: Probabilities of the regime of each slice, shape (N, episodes, regimes).
        kept: Mean share of each displacement that is left, shape (episodes, N, N).
        prices: Price of each remaining share after a slice, currency, shape (N, episodes).
    """
    problem, market = plan.problem, plan.problem.market
    quantity, slope, beta, bps = market.scenario.quantity, market.impact.transient_slope, market.impact.beta, bps_of(market)
    power, spread, drift, risk = (np.zeros(before.shape[:2]) for _ in range(4))
    for k, law in enumerate(before):
        mean = mean_slice(mode_slices(problem, k), law, beta)
        noise = np.exp(0.5 * beta * (beta + 1.0) * problem.deviations[k] ** 2)
        power[k] = (mean.temporary_scale * mean.volume**-beta)[:, 0] * noise
        spread[k], risk[k] = mean.half_spread[:, 0], mean.risk[:, 0]
        drift[k] = (mean.drift + mean.holding)[:, 0] + prices[k]
    after = np.tril(np.ones((market.slices, market.slices)))  # the remaining shares after slice k are X - sum_j after[k, j] n_j
    form = slope * (kept + kept.transpose(0, 2, 1) + np.eye(market.slices))
    form = form + 2.0 * np.einsum("ki,ke,kj->eij", after, risk, after)
    linear = spread.T - (drift + 2.0 * risk * quantity).T @ after
    constant = ((risk * quantity + drift) * quantity).sum(axis=0)
    square = quantity * quantity
    return Costs(beta, power.T * quantity ** (1.0 + beta) * bps, form * square * bps, linear * quantity * bps, constant * bps)


def least(costs: Costs) -> Floats:
    """Return a lower bound on the cost of every w >= 0 with sum one, close to the minimum, shape (episodes,).

    By convexity the cost is at least that of any w plus its slope times the way; where Q has a negative eigenvalue, less that,
    since the square of no way exceeds two.
    """
    episodes, slices = costs.power.shape
    index = np.arange(slices)
    trades, found = np.full((episodes, slices), 1.0 / slices), np.full(episodes, -np.inf)
    scale = np.abs(costs.value(trades)).mean()
    barrier = np.full(episodes, scale / slices)
    for _ in range(_NEWTON):
        hessian = costs.form.copy()
        hessian[:, index, index] += costs.beta * (1.0 + costs.beta) * costs.power * trades ** (costs.beta - 1.0)
        hessian[:, index, index] += barrier[:, None] / trades**2
        slope = costs.slope(trades) - barrier[:, None] / trades
        solved = np.linalg.solve(hessian, np.stack([slope, np.ones_like(slope)], axis=2))
        price = solved[:, :, 0].sum(axis=1) / solved[:, :, 1].sum(axis=1)
        way = price[:, None] * solved[:, :, 1] - solved[:, :, 0]
        reach = np.where(way < 0.0, -trades / np.where(way < 0.0, way, -1.0), np.inf).min(axis=1)
        length = np.minimum(1.0, 0.95 * reach)
        trades = trades + length[:, None] * way
        value, slope = costs.value(trades), costs.slope(trades)
        found = np.maximum(found, value - (slope * trades).sum(axis=1) + slope.min(axis=1))
        if (value - found).max() < _PRECISION * scale:
            break
        barrier = np.maximum(barrier * np.where(length > 0.9, 0.3, 0.9), 0.1 * _PRECISION * scale / slices)
    return np.asarray(found + np.minimum(np.linalg.eigvalsh(costs.form)[:, 0], 0.0))
