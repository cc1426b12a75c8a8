"""Judge policies on one scenario: realised and expected cost, risk, and the paired difference to TWAP with its interval."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from hyperexec_env.arguments import option
from hyperexec_env.backends.compiled import BACKENDS, resolve_backend
from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import Board, Entrant, judge, play
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.evaluation.statistics import smallest_difference
from hyperexec_env.evaluation.store import DeterminismAlarm, Store
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario

from .desk import DESK
from .policies import BASELINES, SANITY, get_policy, policy_names

__all__ = ["Args", "announce", "check_evaluation", "entrants", "evaluate", "known_optimum", "main", "resolution", "show"]

_PILOT: Final = 300
"""Episodes of the pilot that tells how finely a run can tell policies apart."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec evaluate``."""

    scenario: str = option("regime-day", "name of a scenario or path of a .toml file")
    policy: tuple[str, ...] = option(("all",), "names, folders of trained policies, `baselines`, `sanity`, `all` or `desk`")
    episodes: int = option(10_000, "number of episodes, the same for every policy")
    seed: int = option(0, "seed of the episodes (training never uses the seeds below 2^32)")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    backend: str = option("auto", "how schedules are run: compiled where numba is installed, or not", choices=BACKENDS)
    threads: int = option(0, "threads of compiled loops (0: as many as help)")
    store: str | None = option(None, "keep the results in this file, and take from it what is there")
    json: str | None = option(None, "write the numbers as JSON to this file (without a file: to standard output)")


def entrants(names: Sequence[str]) -> list[Entrant]:
    """Return the policies of some names; each name is a policy, a group of policies, or the folder of a trained one.

    A name that is known goes before a folder of that name (write `./TWAP` for the folder).

    Raises:
        ValueError: No such policy or folder.
    """
    groups = {"baselines": list(BASELINES), "sanity": list(SANITY), "all": [*BASELINES, *SANITY], "desk": list(DESK)}
    found: dict[str, Entrant] = {}  # by label: a policy that is named twice takes part once
    for name in dict.fromkeys(names):
        if not name:
            raise ValueError("policy must be a name or a folder, got an empty one")
        known = name.lower() in groups or name.lower() in map(str.lower, policy_names())
        if not known and Path(name).is_dir():
            trained = load_policy(name)
            if f"{trained.name} {trained.training_seed}" in found:  # another run of that seed: told apart by its folder
                trained = replace(trained, name=f"{trained.name} {name}")
            entrant = Entrant(trained, training_seed=trained.training_seed, hidden=not trained.observe_regime)
            found[f"{trained.name} {trained.training_seed}"] = entrant
        else:
            for key in groups.get(name.lower(), [name]):
                policy = get_policy(key)
                found[policy.name] = Entrant(policy, sanity=policy.name in SANITY)
    return list(found.values())


def check_evaluation(episodes: int, seed: int) -> None:
    """Refuse a number of episodes or a seed that is out of range."""
    check_integer("episodes", episodes, low=2, high=1_000_000_000)
    check_integer("seed", seed, low=0, high=2**32 - 1)


def evaluate(
    scenario: Scenario,
    taking_part: Sequence[Entrant],
    episodes: int,
    seed: int,
    store: Store | None = None,
    optimum: Optimum | None = None,
    backend: str = "auto",
    threads: int = 0,
) -> Board:
    """Judge policies against TWAP on the same episodes, with a progress bar.

    Args:
        scenario: The scenario.
        taking_part: The policies.
        episodes: Number of episodes.
        seed: Seed of the episodes.
        store: Where results are kept, and taken from.
        optimum: What is known of the optimum (see :func:`known_optimum`); None: the board has no gaps.
        backend: "numba", "numpy" or "auto".
        threads: Threads of compiled loops; 0: as many as help.

    Raises:
        ValueError: A number of episodes, of threads or a seed that is out of range.
    """
    check_evaluation(episodes, seed)
    check_integer("threads", threads, low=0, high=256)
    with progress(episodes, f"evaluate {scenario.name}") as advance:
        return judge(
            scenario,
            taking_part,
            get_policy("TWAP"),
            episodes=episodes,
            seed=seed,
            optimum=optimum,
            store=store,
            progress=advance,
            backend=backend,
            num_threads=threads or None,
        )


def known_optimum(scenario: Scenario) -> Optimum:
    """Return what is known of the optimum of a scenario; it may take a while."""
    from .solver import optimum  # only whoever asks for it pays for its import

    return optimum(scenario)


def resolution(scenario: Scenario, taking_part: Sequence[Entrant], episodes: int, seed: int) -> str:
    """Say which differences to TWAP a run will find: those of the median policy, by a pilot on episodes of another seed.

    Returns:
        One line; "" where no policy differs from TWAP.
    """
    # in numpy: so few episodes take less time than a loop takes to compile
    outcomes = play(scenario, taking_part, get_policy("TWAP"), episodes=_PILOT, seed=(seed + 1) % 2**32, backend="numpy")
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
        f"{episodes:,} episodes can tell J apart by {objective} bps, the realised shortfall by {shortfall} bps "
        "(paired differences to TWAP; 95 %, power 80 %)"
    )


def _two_digits(value: float) -> str:
    """Return a number of at least zero with two digits that count, without an exponent."""
    if value < 1e-9:  # nothing is left to chance but rounding
        return "0"
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(rounded)))}f}"


def announce(scenario: Scenario, taking_part: Sequence[Entrant], episodes: int, seed: int) -> None:
    """Say on standard error, before a run, which differences it will find."""
    check_evaluation(episodes, seed)
    line = resolution(scenario, taking_part, episodes, seed)
    if line:
        print(f"{scenario.name}: {line}", file=sys.stderr, flush=True)


def show(text: str, content: str, target: str | None) -> None:
    """Print a result: as text, or as JSON to standard output ("-") or to a file beside the text."""
    if target == "-":
        print(content, end="")
        return
    print(text)
    if target is not None:
        write_atomically(target, content)


def main(args: Args) -> Board:
    """Judge, print, and return the board."""
    check_target(args.json)
    scenario, taking_part = get_scenario(args.scenario), entrants(args.policy)
    check_evaluation(args.episodes, args.seed)
    check_integer("threads", args.threads, low=0, high=256)
    resolve_backend(args.backend)
    try:
        with nullcontext() if args.store is None else Store(args.store) as store:
            announce(scenario, taking_part, args.episodes, args.seed)
            known = known_optimum(scenario) if args.optimum else None
            board = evaluate(scenario, taking_part, args.episodes, args.seed, store, known, args.backend, args.threads)
    except DeterminismAlarm as alarm:
        raise SystemExit(f"hyperexec: alarm: {alarm}") from None
    show(str(board), board.to_json(), args.json)
    return board
