"""Evaluation of policies on one scenario: paired against TWAP, and relative to the optimum, on the same episodes."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.board import Board, Entrant
from hyperexec_env.evaluation.calibration_error import DRAWS, calibration_error
from hyperexec_env.evaluation.comparison import judge, play
from hyperexec_env.evaluation.identity import policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.observation import ObservationPolicy
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.policy import Policy, check_fit, unfit
from hyperexec_env.evaluation.rollout import market_of
from hyperexec_env.evaluation.statistics import smallest_difference
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.submission import Submission, is_submission, load_submission
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import BASKETS, BasketScenario
from hyperexec_env.market.scenarios import AnyScenario, AnyScenarioLike, scenario_or_basket
from hyperexec_env.progress import progress
from hyperexec_env.workers import check_workers

from .basket_policies import BASKET_BASELINES, BASKET_SANITY, BasketOptimal, basket_policy, basket_policy_names
from .desk import DESK, LEARNERS
from .filtered import Filtered
from .policies import BASELINES, SANITY, SOLVED, Optimal, get_policy, policy_names

__all__ = [
    *("TIMEOUT", "PolicyLike", "announce", "check_evaluation", "check_own_name", "check_trades", "entrants", "evaluate"),
    *("known_optimum", "known_policies", "named_policy", "reference_of", "resolution"),
]

TIMEOUT: Final = 300.0
"""Default of the largest time of one call of a policy, seconds."""
_PILOT: Final = 300
"""Episodes of the pilot run that estimates the smallest detectable difference."""


PolicyLike = str | os.PathLike[str] | Policy | Entrant
"""A policy, an entrant, the name of a policy or of a group of policies, the folder of a trained policy, or a submission."""


class _Known(NamedTuple):
    """The policies that a name may denote: those of scenarios of one asset, or those of baskets."""

    baselines: Iterable[str]
    sanity: Iterable[str]
    desk: Iterable[str]
    learn: Iterable[str]
    solved: Iterable[str]
    """Names of the policies that solve the scenario in which they trade."""
    names: Callable[[], tuple[str, ...]]
    """Function that returns every other name."""
    get: Callable[[str], Policy]
    """Function that returns a new policy by name."""
    read: Callable[[str], NetworkPolicy]
    """Function that reads a trained policy from a folder."""

    def groups(self, leave_out: Iterable[str] = ()) -> dict[str, list[str]]:
        """Return the names of each group, without some of them."""
        found = {"baselines": self.baselines, "sanity": self.sanity, "all": [*self.baselines, *self.sanity]}
        found |= {"desk": self.desk, "learn": self.learn}
        return {group: [name for name in names if name not in leave_out] for group, names in found.items() if [*names]}


def _read(folder: str) -> NetworkPolicy:
    """Read a trained policy of one market, or of many markets."""
    from .universal import load_trained  # lazy: it loads the solver

    return load_trained(folder)


_OF_ONE: Final = _Known(BASELINES, SANITY, DESK, LEARNERS, SOLVED, policy_names, get_policy, _read)
_OF_BASKETS: Final = _Known(
    BASKET_BASELINES, BASKET_SANITY, (), (), (BasketOptimal.name,), basket_policy_names, basket_policy, load_basket_policy
)


def entrants(policies: PolicyLike | Iterable[PolicyLike], scenario: AnyScenarioLike | None = None) -> list[Entrant]:
    """Return the entrants of an evaluation, without duplicates.

    Args:
        policies: Names of policies (case-insensitive), `optimum`, the groups `baselines`, `sanity`, `all`, `desk` and `learn`,
            folders of trained policies, submissions (not of Python code, which
            :meth:`~hyperexec_env.evaluation.submission.Submission.entrant` runs if it is told to), policies, or entrants. A
            known name takes precedence over a folder of that name (write `./TWAP` for the folder).
        scenario: The scenario or basket, whose policies the names are; None: a scenario of one asset. Groups leave out policies
            that cannot trade in it; those of a basket of orders with one side also `buys-first`, which is there a faster TWAP.

    Raises:
        TypeError: An object is not a policy.
        ValueError: A name or folder is unknown, two different policies have the same name, or a policy cannot trade in the
            scenario.
    """
    market = None if scenario is None else scenario_or_basket(scenario)
    known = _known(market)
    groups = known.groups(_left_out(market))
    given = [policies] if isinstance(policies, (str, os.PathLike, Policy, Entrant)) else policies
    texts: set[str] = set()
    found: dict[str, Entrant] = {}
    for each in given:
        item = os.fspath(each) if isinstance(each, os.PathLike) else each
        if isinstance(item, str):
            if item in texts:
                continue
            texts.add(item)
        for entrant in _named(item, known, groups, market) if isinstance(item, str) else [_entrant(item, known)]:
            label = _label(entrant)
            if label in found and isinstance(item, str) and isinstance(entrant.policy, NetworkPolicy):
                # a second run with the same training seed: append its folder to make the name unique
                entrant = replace(entrant, policy=replace(entrant.policy, name=f"{entrant.policy.name} {item}"))
                label = _label(entrant)
            elif label in found and not _same(entrant.policy, found[label].policy):
                raise ValueError(f"policies must have different names, got two called {label!r}")
            found.setdefault(label, entrant)
    if market is not None:
        for entrant in found.values():
            check_fit(entrant.policy, market_of(market))
    return list(found.values())


def _left_out(scenario: AnyScenario | None) -> list[str]:
    """Return the names that the groups of a scenario leave out."""
    if not isinstance(scenario, BasketScenario):
        return []
    market = build_basket(scenario)
    unable = [name for name, make in BASKET_BASELINES.items() if unfit(make(), market)]
    return [*unable, *(["buys-first"] if len(set(scenario.sides)) == 1 else [])]


def _known(scenario: AnyScenario | None) -> _Known:
    """Return the policies of a scenario of one asset (None: any), or of a basket."""
    return _OF_BASKETS if isinstance(scenario, BasketScenario) else _OF_ONE


def known_policies(scenario: AnyScenario) -> tuple[str, ...]:
    """Return the names of the policies of the package for a scenario of one asset, or for a basket."""
    return _known(scenario).names()


def named_policy(name: str, scenario: AnyScenario) -> Policy:
    """Return a policy of the package by its name, never by a path; raise ValueError for an unknown name."""
    return _known(scenario).get(name)


def _named(name: str, known: _Known, groups: dict[str, list[str]], scenario: AnyScenario | None) -> list[Entrant]:
    """Return the entrants that a name, a group or a folder denotes."""
    if not name:
        raise ValueError("policy must be a name or a folder, got an empty one")
    is_known = name.lower() in map(str.lower, (*groups, *known.solved, *known.names()))
    if not is_known and os.path.isdir(name):
        return [_entrant(known.read(name), known)]
    if not is_known and is_submission(name):
        return [check_trades(check_own_name(load_submission(name)), scenario).entrant()]
    return [_entrant(known.get(key), known) for key in groups.get(name.lower(), [name])]


def check_own_name(submission: Submission) -> Submission:
    """Return a submission; raise ValueError if its name is the name of a policy of this package."""
    name = submission.card.name
    names = (*_OF_ONE.groups(), *SOLVED, *policy_names(), *basket_policy_names())
    if name.strip().lower() in map(str.lower, names):
        raise ValueError(f"the name of a submission must not be that of a policy of this package, got {name!r}")
    return submission


def check_trades(submission: Submission, scenario: AnyScenario | None) -> Submission:
    """Return a submission; raise ValueError if it trades a basket and the scenario is of one asset (or None), or vice versa."""
    if submission.of_basket != isinstance(scenario, BasketScenario):
        trades = "a basket" if submission.of_basket else "an order in one asset"
        given = "a scenario of one asset" if scenario is None else repr(scenario.name)
        raise ValueError(f"the policy {submission.card.name!r} trades {trades}, got {given}")
    return submission


def _entrant(item: Policy | Entrant, known: _Known) -> Entrant:
    """Wrap a policy as an entrant.

    Raises:
        TypeError: The object is not a policy.
    """
    if isinstance(item, Entrant):
        return item
    if isinstance(item, NetworkPolicy):
        return Entrant(item, training_seed=item.training_seed, hidden=not item.observe_regime)
    if isinstance(item, ObservationPolicy):
        return Entrant(item, hidden=not item.observe_regime)
    if isinstance(item, Filtered):
        return Entrant(item, hidden=True)
    if isinstance(item, type) or not isinstance(item, Policy):  # a class with a name has both attributes too
        wanted = "names, folders, entrants, or objects with a `name` and an `act(situation)` method"
        got = f"the class {item.__name__}" if isinstance(item, type) else type(item).__name__
        raise TypeError(f"policies must be {wanted}, got {got}")
    return Entrant(item, sanity=item.name in known.sanity and type(item) is type(known.get(item.name)))


def _label(entrant: Entrant) -> str:
    """Return the unique label of an entrant on a board: its name and training seed."""
    return entrant.policy.name if entrant.training_seed is None else f"{entrant.policy.name} {entrant.training_seed}"


def _same(policy: Policy, other: Policy) -> bool:
    """Return whether two policies are the same object or have the same known hash."""
    identity = policy_hash(policy)
    return policy is other or (identity is not None and identity == policy_hash(other))


def check_evaluation(episodes: int, seed: int) -> tuple[int, int]:
    """Return the number of episodes and the seed as ints; raise a ValueError if one is out of range."""
    return (
        check_integer("episodes", episodes, low=2, high=1_000_000_000),
        check_integer("seed", seed, low=0, high=2**32 - 1),
    )


def evaluate(
    scenario: AnyScenarioLike = "regime-day",
    policies: PolicyLike | Iterable[PolicyLike] = "all",
    *,
    episodes: int = 10_000,
    seed: int = 0,
    optimum: bool | Optimum = True,
    store: Store | None = None,
    backend: str = "auto",
    threads: int = 0,
    policy_timeout: float = TIMEOUT,
    workers: int = 1,
    ray: str = "",
) -> Board:
    """Evaluate policies on the same episodes of a scenario or a basket, against TWAP and the optimum, with a progress bar.

    Args:
        scenario: A name, a dict, a path, a scenario or a basket.
        policies: Names, groups, folders, policies or entrants; see :func:`entrants`.
        episodes: Number of episodes.
        seed: Seed of the episodes.
        optimum: Whether to solve the scenario, so that the board shows gaps to the optimum; or an optimum already computed. If
            so, a policy `optimum` names the row of the optimum, which every board shows; else it is a policy like any other.
        store: Store that results are read from and written to.
        backend: "numba", "numpy" or "auto".
        threads: Threads of compiled loops; 0: chosen from the batch size.
        policy_timeout: Largest time of one call of a policy, seconds; 0: no limit. A policy that raises an error, does not
            return in time or does not return finite shares gets no row: :attr:`Board.failed` holds the reason, and the other
            policies go on. A compiled rule is stopped only if it never ends within 64 episodes, on which it is tried first.
        workers: Processes that share the batches of 4,096 episodes; results do not depend on their number.
        ray: Address of a ray cluster that runs the batches instead (extra `dist`); "": none.

    A scenario with a posterior is also played in its draws: the board shows for each difference to TWAP what part of its
    variance comes from calibration, and whether the difference is larger than that error.

    Raises:
        ValueError: The number of episodes or threads or the seed is out of range, a scenario or policy is unknown, or the
            scenario of the policy `optimum` is not solved exactly.
        TypeError: An object is not a policy.
    """
    episodes, seed = check_evaluation(episodes, seed)
    threads = check_integer("threads", threads, low=0, high=256)
    check_number("policy_timeout", policy_timeout, low=0.0, high=1e6, unit="s")
    shared_by = check_workers(workers, ray)
    scenario, chosen = scenario_or_basket(scenario), entrants(policies, scenario)
    _check_loops(scenario, backend, threads)
    if optimum is True:
        optimum = known_optimum(scenario)
    others = _without_optimum(chosen)
    if optimum and len(others) < len(chosen):
        if optimum.policy is None:
            raise ValueError(f"policy 'optimum' cannot trade {scenario.name}: no optimal policy is known")
        chosen = others
    with progress(episodes, f"evaluate {scenario.name}") as advance:
        board = judge(
            scenario,
            chosen,
            reference_of(scenario),
            episodes=episodes,
            seed=seed,
            optimum=optimum or None,
            store=store,
            progress=advance,
            backend=backend,
            num_threads=threads or None,
            policy_timeout=policy_timeout,
            workers=shared_by,
        )
    return _over_draws(board, chosen, policy_timeout)


def _check_loops(scenario: AnyScenario, backend: str, threads: int) -> None:
    """Raise ValueError for options of compiled loops with a basket, whose policies run in numpy."""
    for name, value, usual in (("threads", threads, (0,)), ("backend", backend, ("auto", "numpy"))):
        if isinstance(scenario, BasketScenario) and value not in usual:
            raise ValueError(f"{name} is not an option of a basket, got {value!r} with {scenario.name!r}: it runs in numpy")


def _over_draws(board: Board, chosen: Iterable[Entrant], policy_timeout: float) -> Board:
    """Return a board with its rows in the draws of the posterior, if the scenario has one."""
    if isinstance(board.scenario, BasketScenario) or board.scenario.posterior is None or not board.rows:
        return board
    failed = {(failure.policy, failure.training_seed) for failure in board.failed}
    played = [each for each in chosen if (each.policy.name, each.training_seed) not in failed]
    policies = [(each.label, each.policy, each.hidden) for each in played]
    draws = min(len(board.scenario.posterior), DRAWS)
    with progress(draws, f"evaluate the draws of {board.scenario.name}") as advance:
        twap = get_policy("TWAP")
        found = calibration_error(board, policies, twap, progress=advance, policy_timeout=policy_timeout)
    return replace(board, calibration=found)


def _without_optimum(chosen: Iterable[Entrant]) -> list[Entrant]:
    """Return the entrants other than the policy `optimum`."""
    return [entrant for entrant in chosen if not isinstance(entrant.policy, (Optimal, BasketOptimal))]


def reference_of(scenario: AnyScenarioLike) -> Policy:
    """Return TWAP, the policy that differences refer to, of a scenario or of a basket."""
    return _known(scenario_or_basket(scenario)).get("TWAP")


def known_optimum(scenario: AnyScenarioLike) -> Optimum:
    """Solve a scenario or a basket and return its optimum; solving may take minutes unless the solution is cached."""
    from .solver import optimum, solve  # a lazy import keeps the solver off the path of runs without an optimum

    if BASKETS.owns(scenario):
        known = solve(BASKETS.get(scenario)).reference
        return known if known.optimum_bps is None else replace(known, policy=BasketOptimal())
    return optimum(scenario)  # type: ignore[arg-type]


def resolution(
    scenario: AnyScenarioLike,
    policies: PolicyLike | Iterable[PolicyLike],
    episodes: int = 10_000,
    seed: int = 0,
    policy_timeout: float = TIMEOUT,
) -> str:
    """Return the smallest difference to TWAP that a run can detect, for the median policy, from a pilot on another seed.

    The pilot leaves out policies that fail, and the policy `optimum`, which would have to be solved first.

    Returns:
        One line of text; "" where no policy differs from TWAP.
    """
    # numpy, because compiling a loop takes longer than these few episodes
    chosen = _without_optimum(entrants(policies, scenario))
    outcomes = play(
        scenario,
        chosen,
        reference_of(scenario),
        episodes=_PILOT,
        seed=(seed + 1) % 2**32,
        backend="numpy",
        policy_timeout=policy_timeout,
    )
    statements = [outcome.statement for outcome in outcomes]
    spreads = [
        (np.std(own.objective - statements[0].objective, ddof=1), np.std(own.shortfall - statements[0].shortfall, ddof=1))
        for own in statements[1:]
        if not np.array_equal(own.shortfall, statements[0].shortfall)
    ]
    if not spreads:
        return ""
    objective, shortfall = (_two_digits(smallest_difference(float(sd), episodes)) for sd in np.median(spreads, axis=0))
    return (
        f"{episodes:,} episodes can detect differences of {objective} bps in J and {shortfall} bps in the realised shortfall "
        "(paired differences to TWAP; 95 %, power 80 %)"
    )


def _two_digits(value: float) -> str:
    """Return a non-negative number with two significant digits, without an exponent."""
    if value < 1e-9:  # only rounding error remains
        return "0"
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(rounded)))}f}"


def announce(
    scenario: AnyScenarioLike,
    policies: PolicyLike | Iterable[PolicyLike],
    episodes: int,
    seed: int,
    policy_timeout: float = TIMEOUT,
) -> None:
    """Print the smallest detectable difference of a run on standard error, before the run; see :func:`resolution`."""
    check_evaluation(episodes, seed)
    scenario = scenario_or_basket(scenario)
    line = resolution(scenario, policies, episodes, seed, policy_timeout)
    if line:
        print(f"{scenario.name}: {line}", file=sys.stderr, flush=True)
