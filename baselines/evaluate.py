"""Judge policies on one scenario: realised and expected cost, risk, and the paired difference to TWAP with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from baselines.desk import DESK
from baselines.policies import BASELINES, SANITY, get_policy, policy_names
from hyperexec_env.arguments import option
from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import Board, Entrant, judge
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario

__all__ = ["Args", "check_evaluation", "entrants", "evaluate", "main", "show"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec evaluate``."""

    scenario: str = option("regime-day", "name of a scenario or path of a .toml file")
    policy: tuple[str, ...] = option(("all",), "names, folders of trained policies, `baselines`, `sanity`, `all` or `desk`")
    episodes: int = option(10_000, "number of episodes, the same for every policy")
    seed: int = option(0, "seed of the episodes (training never uses the seeds below 2^32)")
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


def evaluate(scenario: Scenario, taking_part: Sequence[Entrant], episodes: int, seed: int) -> Board:
    """Judge policies against TWAP on the same episodes, with a progress bar."""
    check_evaluation(episodes, seed)
    with progress(episodes, f"evaluate {scenario.name}") as advance:
        return judge(scenario, taking_part, get_policy("TWAP"), episodes=episodes, seed=seed, progress=advance)


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
    board = evaluate(get_scenario(args.scenario), entrants(args.policy), args.episodes, args.seed)
    show(str(board), board.to_json(), args.json)
    return board
