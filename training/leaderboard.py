"""Evaluate the baselines, train PPO with several seeds, judge all on the same episodes, and write the board.

Writes, for each scenario, SCENARIO.md and SCENARIO.json, the trained policies, and one page, leaderboard.html, with the tables
and the pictures. A policy that was trained with the same options on the same scenario is not trained again, and every batch of
episodes that was judged is kept in results.sqlite: a run that was interrupted goes on where it stopped, a training from its
newest checkpoint.
"""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hyperexec_env import __version__
from hyperexec_env.arguments import option
from hyperexec_env.baselines.evaluate import announce, check_evaluation, entrants, evaluate, known_optimum, show
from hyperexec_env.baselines.policies import get_policy, policy_names
from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.board import Board, Entrant, text_table
from hyperexec_env.evaluation.identity import Cell, engines, policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy
from hyperexec_env.evaluation.page import page
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.evaluation.store import DeterminismAlarm, Store
from hyperexec_env.evaluation.summary import summary
from hyperexec_env.evaluation.verification import Verification, verify
from hyperexec_env.extras import need
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names

from . import ppo
from .interruption import Interrupted
from .run import begun, check_training, file_name, make_folder

__all__ = ["Args", "leaderboard", "main", "verified"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec leaderboard``."""

    scenario: tuple[str, ...] = option(("regime-day",), "names of scenarios, paths of .toml files, or `all` that ship")
    quick: bool = option(False, "a small run: what is not given is one training seed, 300,000 slices, 2,000 episodes")
    episodes: int | None = option(None, "number of episodes, the same for every policy (default: 20000)")
    seed: int = option(0, "seed of the episodes (training never uses the seeds below 2^32)")
    training_seeds: int | None = option(None, "number of training seeds, 0, 1, ... (default: 3)")
    timesteps: int | None = option(None, "slices to trade in each training (default: 2000000)")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    out: str = option("leaderboard", "folder of the results")
    store: str | None = option(None, "keep the results of all episodes in this file (default: OUT/results.sqlite)")
    verify: bool = option(False, "train and judge nothing: compute again what is stored, and compare bit for bit")
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
    given = [name for word in args.scenario for name in (scenario_names() if word == "all" else (word,))]
    scenarios = [get_scenario(name) for name in given]
    names = [file_name(scenario) for scenario in scenarios]
    if len(set(names)) < len(names):
        raise ValueError(f"scenario names must differ, got {', '.join(names)}")
    folder = make_folder(Path(args.out))
    with Store(_store_path(args)) as store:
        boards = [
            _board(args, scenario, [_options(args, word, name, seed) for seed in range(seeds)], store)
            for word, scenario, name in zip(given, scenarios, names, strict=True)
        ]
    if len(boards) > 1 and args.optimum:
        header, cells, caption = summary(boards)
        _say(args, f"{text_table(header, cells)}\n{caption}\n")
    write_atomically(folder / "leaderboard.html", page(boards, _command(args)))
    return boards


def _store_path(args: Args) -> Path:
    return Path(args.out) / "results.sqlite" if args.store is None else Path(args.store)


def _options(args: Args, given: str, name: str, seed: int) -> ppo.Args:
    """Return the options of a training; `given` is what names the scenario, `name` what names its files."""
    return ppo.Args(
        scenario=given,
        seed=seed,
        timesteps=_budget(args)[1],
        out=str(Path(args.out) / "policies" / f"ppo-{name}-{seed}"),
        tensorboard=False,
        progress=args.progress and sys.stderr.isatty(),
    )


def _board(args: Args, scenario: Scenario, trainings: Sequence[ppo.Args], store: Store) -> Board:
    """Train and judge on one scenario, write its files and return its board."""
    trained = []
    for number, options in enumerate(trainings, start=1):
        _say(args, f"{scenario.name}: PPO, training seed {options.seed} ({number} of {len(trainings)})")
        trained.append(_trained(options, scenario))
    taking_part = [*entrants(["all"]), *(Entrant(policy, training_seed=policy.training_seed) for policy in trained)]
    episodes = _budget(args)[2]
    announce(scenario, taking_part, episodes, args.seed)
    known = known_optimum(scenario) if args.optimum else None
    board = evaluate(scenario, taking_part, episodes, args.seed, store, known)
    _write(Path(args.out), file_name(scenario), board)
    _say(args, f"\n{board}\n")
    return board


def verified(args: Args) -> Verification:
    """Compute every stored cell again and compare; trained policies are those of OUT/policies, the optimum is solved for again.

    Raises:
        ValueError: There is no store, or it cannot be read.
        MissingExtra: There are trained policies, and the packages of the extra `train` are not installed.
    """
    path = _store_path(args)
    if not path.is_file():
        raise ValueError(f"there is no store of results at {path}")
    with Store(path) as store:
        cells = [cell for cell, _ in store.cells()]
        policies = _known_policies(Path(args.out) / "policies")
        if args.optimum:
            policies |= _optimal_policies(store, [cell for cell in cells if cell.policy not in policies])
        with progress(sum(cell.episodes for cell in cells), f"verify {path}") as advance:
            return verify(store, policies, advance)


def _known_policies(folder: Path) -> dict[str, Policy]:
    """Return the policies that ship with the package and the trained ones of a folder, by their hash."""
    trained = [load_policy(path.parent) for path in sorted(folder.glob("*/policy.json"))]
    return _by_hash([*map(get_policy, policy_names()), *trained])


def _optimal_policies(store: Store, cells: Sequence[Cell]) -> dict[str, Policy]:
    """Return the optimal policies of the scenarios of some cells, by their hash."""
    known = engines()
    scenarios = dict.fromkeys(cell.scenario for cell in cells if cell.engine in known)
    solved = [known_optimum(store.scenario(scenario)).policy for scenario in scenarios]
    return _by_hash([policy for policy in solved if policy is not None])


def _by_hash(policies: Sequence[Policy]) -> dict[str, Policy]:
    return {identity: policy for policy in policies if (identity := policy_hash(policy)) is not None}


def _budget(args: Args) -> tuple[int, int, int]:
    """Return the training seeds, the slices of a training and the episodes: what was given, else the defaults."""
    defaults = (1, 300_000, 2_000) if args.quick else (3, 2_000_000, 20_000)
    given = (args.training_seeds, args.timesteps, args.episodes)
    seeds, timesteps, episodes = (default if value is None else value for value, default in zip(given, defaults, strict=True))
    return seeds, timesteps, episodes


def _trained(options: ppo.Args, scenario: Scenario) -> NetworkPolicy:
    """Return the policy of a run: read where it is there already, else trained, from its newest checkpoint on if it has one."""
    try:
        found = load_policy(options.out)
    except ValueError:
        return _train(options, scenario)
    return found if _is_of(found, options, scenario) else _train(options, scenario)


def _is_of(found: NetworkPolicy, options: ppo.Args, scenario: Scenario) -> bool:
    """Whether a policy says of itself that these options made it, on this scenario and with this version."""
    about = found.about
    args, versions, traded = about.get("args"), about.get("versions"), about.get("timesteps")
    if not (isinstance(args, dict) and isinstance(versions, dict) and isinstance(traded, int)):
        return False
    made = (about.get("scenario_hash"), versions.get("hyperexec_env"), found.training_seed)
    no_matter = ("out", "progress", "scenario", "checkpoint_every", "resume")
    kept = {key: value for key, value in asdict(options).items() if key not in no_matter}
    same = made == (scenario.hash, __version__, options.seed) and kept.items() <= args.items()
    return same and traded >= options.timesteps


def _train(options: ppo.Args, scenario: Scenario) -> NetworkPolicy:
    """Train, from the newest checkpoint on if it is that of the same training."""
    try:
        return ppo.train(replace(options, resume=begun("ppo", scenario, options)))
    except Interrupted:
        print("(a leaderboard needs no --resume: the same command goes on from that checkpoint)", file=sys.stderr)
        raise


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
    """Make the boards and say where they are, or verify; exit with code 1 if a result differs from the stored one."""
    check_target(args.json, [_store_path(args)])
    if args.verify:
        _verify(args)
        return
    try:
        boards = leaderboard(args)
    except DeterminismAlarm as alarm:
        raise SystemExit(f"hyperexec: alarm: {alarm}") from None
    if args.json == "-":
        print(all_boards(boards), end="")
        return
    if args.json is not None:
        write_atomically(args.json, all_boards(boards))
    print(f"wrote {args.out}/leaderboard.html and the tables and policies beside it")


def _verify(args: Args) -> None:
    found = verified(args)
    show(str(found), json_format.dumps(found.to_dict(), indent=2) + "\n", args.json)
    if not found.sound:
        raise SystemExit(1)
