"""Comparison of policies on one scenario: paired episodes, intervals, significance and optimality gaps.

:func:`judge` runs the policies and returns a :class:`~hyperexec_env.evaluation.board.Board`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import one_line
from hyperexec_env.evaluation.board import Board, Entrant, Failure, Row, TrainingGroup
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.outcome import Outcome
from hyperexec_env.evaluation.policy import Policy, PolicyFailure, check_policy
from hyperexec_env.evaluation.rollout import market_of, rollouts
from hyperexec_env.evaluation.statistics import (
    bootstrap_means,
    group_means,
    holm,
    interquartile_interval,
    interquartile_mean,
    interval,
    p_value,
    ranks,
)
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.tally import Dispersion, Tally, group_size
from hyperexec_env.market.scenarios import AnyScenario, AnyScenarioLike, scenario_or_basket
from hyperexec_env.workers import ALONE, Workers

__all__ = ["judge", "play"]

Floats = NDArray[np.float64]

_SCHEDULE_ERROR: Final = 1e-6
"""Least relative error of the computed objective of a schedule."""
_FALSE_WARNING: Final = 0.001
"""Probability that a board warns about a correct optimum."""


def judge(
    scenario: AnyScenarioLike,
    entrants: Sequence[Entrant],
    reference: Policy,
    *,
    episodes: int,
    seed: int,
    optimum: Optimum | None = None,
    store: Store | None = None,
    progress: Callable[[int], None] = lambda episodes: None,
    backend: str = "auto",
    num_threads: int | None = None,
    policy_timeout: float = 0.0,
    workers: Workers = ALONE,
) -> Board:
    """Evaluate policies on the same episodes of a scenario.

    A policy that raises an error, does not return in time or does not return finite shares gets no row: the board records the
    reason, and the other policies go on.

    Args:
        scenario: A name, a dict, a path or a scenario.
        entrants: The policies.
        reference: The policy that differences refer to (TWAP); it need not be an entrant.
        episodes: Number of episodes, at least 2.
        seed: Seed of the episodes.
        optimum: The optimum of the scenario; its policy, if given, runs on the same episodes.
        store: Store from which outcomes are read, and to which new outcomes are written.
        progress: Called with the number of episodes after each batch.
        backend: "numba", "numpy" or "auto", see :func:`~hyperexec_env.evaluation.rollout.rollouts`.
        num_threads: Number of threads of compiled loops; None chooses it by the batch size.
        policy_timeout: Largest time of one call of a policy (one slice of a batch), seconds; 0: no limit.
        workers: Who runs the batches of episodes; results do not depend on it.

    Raises:
        ValueError: `episodes` is below 2, or the reference policy or the optimal policy fails.
        TypeError: An object is not a policy.
        MissingExtra: `backend` is "numba" and numba is not installed.
        RuntimeError: A policy changed the market or the path.
        DeterminismAlarm: A stored outcome disagrees with a new one.
    """
    scenario, participants = scenario_or_basket(scenario), [*entrants]
    if optimum is not None and optimum.policy is not None:
        participants.append(Entrant(optimum.policy))
    options: dict[str, Any] = {"store": store, "backend": backend, "num_threads": num_threads, "policy_timeout": policy_timeout}
    options["workers"] = workers
    tallies, reasons = _gather(scenario, participants, reference, episodes, seed, progress, options)
    for index in reasons:
        if not 1 <= index <= len(entrants):
            raise PolicyFailure(reasons[index])
    failed = [
        Failure(entrant.policy.name, entrant.training_seed, one_line(reasons[index]))
        for index, entrant in enumerate(entrants, start=1)
        if index in reasons
    ]
    entrants = [entrant for index, entrant in enumerate(entrants, start=1) if index not in reasons]
    joined = [tally.joined() for tally in tallies]
    comparison = _compare(entrants, joined, [tally.dispersion() for tally in tallies], seed, optimum)
    rows = _rows(entrants, joined, comparison)
    order = sorted(range(len(rows)), key=lambda index: rows[index].objective_bps)
    return Board(
        scenario=scenario,
        episodes=episodes,
        seed=seed,
        rows=tuple(rows[index] for index in order),
        outcomes=tuple(joined[1 + index] for index in order),
        optimum=optimum,
        best_classical=entrants[comparison.best - 1].policy.name if comparison.best else "TWAP",
        groups=_groups(entrants, comparison.objectives[1:], seed),
        optimum_faults=tuple(_optimum_faults(entrants, comparison)),
        failed=tuple(failed),
    )


def play(
    scenario: AnyScenarioLike,
    entrants: Sequence[Entrant],
    reference: Policy,
    *,
    episodes: int,
    seed: int,
    store: Store | None = None,
    progress: Callable[[int], None] = lambda episodes: None,
    backend: str = "auto",
    num_threads: int | None = None,
    policy_timeout: float = 0.0,
) -> list[Outcome]:
    """Run policies on the same episodes of a scenario; arguments and errors as in :func:`judge`.

    Returns:
        The outcomes of the reference and of each entrant that does not fail: over episodes, or over groups of episodes where
        there are many.
    """
    options: dict[str, Any] = {"store": store, "backend": backend, "num_threads": num_threads, "policy_timeout": policy_timeout}
    tallies, _ = _gather(scenario_or_basket(scenario), entrants, reference, episodes, seed, progress, options)
    return [tally.joined() for tally in tallies]


def _gather(
    scenario: AnyScenario,
    entrants: Sequence[Entrant],
    reference: Policy,
    episodes: int,
    seed: int,
    progress: Callable[[int], None],
    options: dict[str, Any],
) -> tuple[list[Tally], dict[int, str]]:
    """Run policies on the same episodes.

    Returns:
        The tallies of the reference and of each entrant that did not fail; and the reasons of the failures, by the number of
        the policy (the reference is 0).
    """
    if episodes < 2:
        raise ValueError(f"episodes must be at least 2, got {episodes}")
    market = market_of(scenario)
    failures: dict[int, str] = {}
    for index, entrant in enumerate(entrants, start=1):
        try:
            check_policy(entrant.policy, market, options["policy_timeout"])
        except PolicyFailure as error:
            failures[index] = str(error)
    policies = [reference, *(entrant.policy for entrant in entrants)]
    hidden = [False, *(entrant.hidden for entrant in entrants)]
    tallies = [Tally(group_size(episodes, len(policies))) for _ in policies]
    for outcomes in rollouts(market, policies, hidden, seed, episodes, failures=failures, **options):
        if 0 in failures:
            raise PolicyFailure(failures[0])
        if len({outcome.path_hash for outcome in outcomes if outcome is not None}) != 1:
            raise RuntimeError("the policies did not meet the same market: a policy has changed the path that it was given")
        for tally, outcome in zip(tallies, outcomes, strict=True):
            if outcome is not None:
                tally.add(outcome, outcomes[0])
        progress(len(outcomes[0].forced))
    return [tally for index, tally in enumerate(tallies) if index not in failures], failures


class _Comparison(NamedTuple):
    """Statistics that the rows of a board share; the first axis is the reference, the entrants, then the optimal policy."""

    objectives: Floats
    """Shape (policies, episodes)."""
    shortfalls: Floats
    """Shape (policies, episodes)."""
    dispersions: Sequence[Dispersion]
    objective_means: Floats
    """Paired bootstrap means of the objectives, shape (policies, resamples)."""
    shortfall_means: Floats
    """Paired bootstrap means of the shortfalls, shape (policies, resamples)."""
    optimum: Optimum
    """The computed optimum; without values where it was not requested."""
    best: int
    """Index of the best classical policy; 0 is the reference."""
    ranks: list[int]
    """Rank of each policy after the reference; 0 for the optimal policy."""
    p_twap: list[float]
    """p-values of the differences to the reference, Holm-adjusted over the entrants; the optimal policy's is not adjusted."""

    @property
    def target(self) -> Floats | float | None:
        """Objectives of the optimal policy by episode, else J*; None where both are unknown."""
        return self.optimum.optimum_bps if self.optimum.policy is None else self.objectives[-1]


def _compare(
    entrants: Sequence[Entrant],
    joined: Sequence[Outcome],
    dispersions: Sequence[Dispersion],
    seed: int,
    optimum: Optimum | None,
) -> _Comparison:
    """Compute the statistics of a board; the first outcome is the reference's."""
    objectives = np.array([outcome.statement.objective for outcome in joined])
    shortfalls = np.array([outcome.statement.shortfall for outcome in joined])
    classical = [i for i, entrant in enumerate(entrants, start=1) if entrant.training_seed is None and not entrant.sanity]
    count = len(entrants)
    resampled = bootstrap_means(np.concatenate([group_means(objectives), group_means(shortfalls)]), seed)
    return _Comparison(
        objectives=objectives,
        shortfalls=shortfalls,
        dispersions=dispersions,
        objective_means=resampled[: len(objectives)],
        shortfall_means=resampled[len(objectives) :],
        optimum=optimum or Optimum(),
        best=min(classical or [0], key=lambda index: float(objectives[index].mean())),
        ranks=[*ranks(objectives[1 : 1 + count]), *(0 for _ in objectives[1 + count :])],
        p_twap=[
            1.0,
            *_adjusted_p_values(objectives[1 : 1 + count], objectives[0]),
            *(p_value(own - objectives[0]) for own in objectives[1 + count :]),
        ],
    )


def _adjusted_p_values(objectives: Floats, other: Floats | float) -> list[float]:
    """Return the Holm-adjusted p-values of the differences to `other`; policies equal to it have p = 1 and are no tests."""
    found = np.array([p_value(own - other) for own in objectives])
    tested = found < 1.0
    found[tested] = holm(found[tested])
    return [float(p) for p in found]


def _rows(entrants: Sequence[Entrant], joined: Sequence[Outcome], comparison: _Comparison) -> list[Row]:
    """Return the rows of a board in the order of the entrants; the optimal policy comes last."""
    rows = [_row(index, entrant, joined[index], comparison) for index, entrant in enumerate(entrants, start=1)]
    if comparison.optimum.policy is not None:
        optimal = _row(len(joined) - 1, Entrant(comparison.optimum.policy), joined[-1], comparison)
        rows.append(replace(optimal, policy="optimum", optimum=True))
    return rows


def _row(index: int, entrant: Entrant, outcome: Outcome, comparison: _Comparison) -> Row:
    """Return the row of one policy; `index` is its position in the comparison."""
    objectives, means = comparison.objectives, comparison.objective_means
    shortfalls, shortfall_means = comparison.shortfalls, comparison.shortfall_means
    statement, best, dispersion = outcome.statement, comparison.best, comparison.dispersions[index]
    objective, twap = float(objectives[index].mean()), float(objectives[0].mean())
    low, high = interval(means[index])
    diff_low, diff_high = interval(means[index] - means[0])
    best_low, best_high = interval(means[index] - means[best])
    realised_low, realised_high = interval(shortfall_means[index] - shortfall_means[0])
    return Row(
        policy=entrant.policy.name,
        training_seed=entrant.training_seed,
        objective_bps=objective,
        objective_low=low,
        objective_high=high,
        is_bps=float(shortfalls[index].mean()),
        is_sd_bps=dispersion.shortfall_sd,
        is_cvar95_bps=dispersion.shortfall_cvar,
        expected_cost_bps=float(np.mean(statement.expected)),
        risk_bps=float(np.mean(statement.risk)),
        diff_to_twap_bps=objective - twap,
        diff_to_twap_low=diff_low,
        diff_to_twap_high=diff_high,
        diff_to_twap_percent=100.0 * (objective - twap) / abs(twap) if twap else 0.0,
        realised_diff_to_twap_bps=float(shortfalls[index].mean() - shortfalls[0].mean()),
        realised_diff_to_twap_low=realised_low,
        realised_diff_to_twap_high=realised_high,
        p_twap=comparison.p_twap[index],
        diff_to_best_bps=objective - float(objectives[best].mean()),
        diff_to_best_low=best_low,
        diff_to_best_high=best_high,
        win_rate=dispersion.win_rate,
        **_gap(index, comparison)._asdict(),
        rank=comparison.ranks[index - 1],
        forced_percent=100.0 * float(outcome.forced.mean()),
        components_bps={key: float(np.mean(value)) for key, value in statement.components._asdict().items()},
        sanity=entrant.sanity,
    )


class _Gap(NamedTuple):
    """Columns of a row that require a known optimum."""

    gap_bps: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    gap_percent: float | None = None
    gap_percent_low: float | None = None
    gap_percent_high: float | None = None
    score: float | None = None


def _gap(index: int, comparison: _Comparison) -> _Gap:
    """Return the gap and the score of a policy."""
    target, exact = comparison.target, comparison.optimum.optimum_bps
    if target is None or exact is None:
        return _Gap()
    objectives, means = comparison.objectives, comparison.objective_means
    objective, twap, best = (float(np.mean(values)) for values in (objectives[index], objectives[0], target))
    low, high = interval(means[index] - (exact if comparison.optimum.policy is None else means[-1]))
    gap = _Gap(objective - best, low, high, score=(twap - objective) / (twap - best) if twap != best else None)
    if exact == 0.0:
        return gap
    scale = 100.0 / abs(exact)
    return gap._replace(gap_percent=scale * (objective - best), gap_percent_low=scale * low, gap_percent_high=scale * high)


def _groups(entrants: Sequence[Entrant], objectives: Floats, seed: int) -> tuple[TrainingGroup, ...]:
    """Return the groups of trained policies with the same name and at least two training seeds."""
    found: dict[str, dict[int, int]] = {}
    for index, entrant in enumerate(entrants):
        if entrant.training_seed is not None:
            found.setdefault(entrant.policy.name, {})[entrant.training_seed] = index
    groups = []
    for name, indices in found.items():
        if len(indices) >= 2:
            seeds = sorted(indices)
            values = objectives[[indices[key] for key in seeds]]
            means = values.mean(axis=1)
            ends = interquartile_interval(values, seed)
            groups.append(TrainingGroup(name, tuple(seeds), tuple(means.tolist()), float(interquartile_mean(means)), *ends))
    return tuple(groups)


def _optimum_faults(entrants: Sequence[Entrant], comparison: _Comparison) -> list[str]:
    """Return the evidence against the optimum: contradictory values, wrong simulated means, and policies that beat it."""
    known, own = comparison.optimum, comparison.objectives[1 : 1 + len(entrants)]
    faults = [f"values of the optimum contradict each other: {text}" for text in known.contradictions]
    if known.policy is not None and known.optimum_bps is not None:
        faults += _wrong_mean("the optimal policy", comparison.objectives[-1], "J*", known.optimum_bps, known.error_bps)
    if known.twap_bps is not None:
        error = abs(known.twap_bps) * max(known.relative_error or 0.0, _SCHEDULE_ERROR)
        faults += _wrong_mean("TWAP", comparison.objectives[0], "its exact objective", known.twap_bps, error)
    names = [entrant.policy.name for entrant in entrants]
    hidden = [index for index, entrant in enumerate(entrants) if entrant.hidden]
    faults += _better("the optimum", comparison.target, names, own, known.error_bps)
    faults += _better("the lower bound on J*", known.bound_bps, names, own)
    late = "the optimum with the regime observed one slice late"
    return faults + _better(late, known.regime_blind_bps, [names[i] for i in hidden], own[hidden], known.error_bps)


def _wrong_mean(who: str, objectives: Floats, what: str, exact: float, error: float) -> list[str]:
    """Return a line if the simulated mean of a policy differs significantly from the computed one, else nothing."""
    mean = float(objectives.mean())
    if abs(mean - exact) <= error or p_value(objectives - exact) >= _FALSE_WARNING:
        return []
    return [f"{who} has a mean of {mean:.2f} +- {_half_width(objectives):.2f} bps (99.9 %), but {what} is {exact:.2f}"]


def _half_width(objectives: Floats) -> float:
    """Return the half-width of the confidence interval of a mean, at the level of the warnings."""
    return NormalDist().inv_cdf(1.0 - 0.5 * _FALSE_WARNING) * float(objectives.std(ddof=1)) / math.sqrt(len(objectives))


def _better(what: str, floor: Floats | float | None, names: Sequence[str], objectives: Floats, error: float = 0.0) -> list[str]:
    """Return a line for each policy that is below a lower bound significantly (Holm-adjusted) and by more than its error."""
    if floor is None:
        return []
    gaps = (objectives - floor).mean(axis=1)
    return [
        f"{name} is {-gap:.2f} bps below {what}"
        for name, gap, p in zip(names, gaps, _adjusted_p_values(objectives, floor), strict=True)
        if gap < -error and p < _FALSE_WARNING
    ]
