"""Evaluate the baselines, train PPO with several seeds, judge all on the same episodes, and write the board.

Writes, for each scenario, SCENARIO.md and SCENARIO.json, the trained policies, and one page, leaderboard.html, with the tables
and the pictures. A policy that was trained with the same options on the same scenario is not trained again.
"""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from baselines.evaluate import check_evaluation, entrants, evaluate
from hyperexec_env.arguments import option
from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import Board, Entrant
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy
from hyperexec_env.evaluation.page import page
from hyperexec_env.extras import need
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario
from training import ppo
from training.run import check_training, file_name, make_folder

__all__ = ["Args", "leaderboard", "main"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec leaderboard``."""

    scenario: tuple[str, ...] = option(("regime-day",), "names of scenarios or paths of .toml files")
    quick: bool = option(False, "a small run: what is not given is one training seed, 300,000 slices, 2,000 episodes")
    episodes: int | None = option(None, "number of episodes, the same for every policy (default: 20000)")
    seed: int = option(0, "seed of the episodes (training never uses the seeds below 2^32)")
    training_seeds: int | None = option(None, "number of training seeds, 0, 1, ... (default: 3)")
    timesteps: int | None = option(None, "slices to trade in each training (default: 2000000)")
    out: str = option("leaderboard", "folder of the results")
    json: str | None = option(None, "write all boards as JSON to this file (without a file: to standard output)")
    progress: bool = option(True, "show progress bars")


def leaderboard(args: Args) -> list[Board]:
    """Train and judge on each scenario, and write the results.

    Raises:
        ValueError: A bad option, or two scenarios of one name.
        MissingExtra: The packages of the extras `train` and `plot` are not installed.
    """
    seeds, timesteps, episodes = _budget(args)
    check_integer("training_seeds", seeds, low=0, high=1000)
    check_evaluation(episodes, args.seed)
    check_training(ppo.Args(timesteps=timesteps, tensorboard=False))
    need("matplotlib", "plot")
    scenarios = [get_scenario(name) for name in args.scenario]
    names = [file_name(scenario) for scenario in scenarios]
    if len(set(names)) < len(names):
        raise ValueError(f"scenario names must differ, got {', '.join(names)}")
    folder = make_folder(Path(args.out))
    boards = []
    for given, scenario, name in zip(args.scenario, scenarios, names, strict=True):
        trained = []
        for seed in range(seeds):
            options = ppo.Args(
                scenario=given,
                seed=seed,
                timesteps=timesteps,
                out=str(folder / "policies" / f"ppo-{name}-{seed}"),
                tensorboard=False,
                progress=args.progress and sys.stderr.isatty(),
            )
            _say(args, f"{scenario.name}: PPO, training seed {seed} ({seed + 1} of {seeds})")
            trained.append(_trained(options, scenario))
        learned = [Entrant(policy, training_seed=policy.training_seed) for policy in trained]
        board = evaluate(scenario, [*entrants(["all"]), *learned], episodes, args.seed)
        _write(folder, name, board)
        boards.append(board)
        _say(args, f"\n{board}\n")
    write_atomically(folder / "leaderboard.html", page(boards, _command(args)))
    return boards


def _budget(args: Args) -> tuple[int, int, int]:
    """Return the training seeds, the slices of a training and the episodes: what was given, else the defaults."""
    defaults = (1, 300_000, 2_000) if args.quick else (3, 2_000_000, 20_000)
    given = (args.training_seeds, args.timesteps, args.episodes)
    seeds, timesteps, episodes = (default if value is None else value for value, default in zip(given, defaults, strict=True))
    return seeds, timesteps, episodes


def _trained(options: ppo.Args, scenario: Scenario) -> NetworkPolicy:
    """Return the policy of a run: read where it is there already, else trained."""
    try:
        found = load_policy(options.out)
    except ValueError:
        return ppo.train(options)
    same = found.about.get("scenario_hash") == scenario.hash and isinstance(found.about.get("args"), dict)
    kept = {key: value for key, value in asdict(options).items() if key not in ("out", "progress", "scenario")}
    return found if same and kept.items() <= found.about["args"].items() else ppo.train(options)


def _write(folder: Path, name: str, board: Board) -> None:
    write_atomically(folder / f"{name}.json", board.to_json())
    write_atomically(folder / f"{name}.md", f"# {board.scenario.name}\n\n{board.to_markdown()}")


def _command(args: Args) -> str:
    """Return the command that makes the boards again."""
    seeds, timesteps, episodes = _budget(args)
    words = ["hyperexec leaderboard --scenario", *args.scenario, "--seed", str(args.seed), "--episodes", str(episodes)]
    return " ".join([*words, "--training-seeds", str(seeds), "--timesteps", str(timesteps)])


def _say(args: Args, text: str) -> None:
    """Print for people; with JSON on standard output, to standard error."""
    print(text, file=sys.stderr if args.json == "-" else sys.stdout, flush=True)


def all_boards(boards: Sequence[Board]) -> str:
    """Return the boards as JSON: one board as it is, several under `boards`."""
    plain = [board.to_dict() for board in boards]
    return json_format.dumps(plain[0] if len(plain) == 1 else {"boards": plain}, indent=2, allow_nan=False) + "\n"


def main(args: Args) -> None:
    """Make the boards and say where they are."""
    check_target(args.json)
    boards = leaderboard(args)
    if args.json == "-":
        print(all_boards(boards), end="")
        return
    if args.json is not None:
        write_atomically(args.json, all_boards(boards))
    print(f"wrote {args.out}/leaderboard.html and the tables and policies beside it")
