"""The leaderboard: baselines, and PPO with several training seeds, evaluated on the same episodes of each scenario.

The output is SCENARIO.md and SCENARIO.json for each scenario, the trained policies, and one page, leaderboard.html, with tables
and figures. Policies already trained with the same options on the same scenario are reused, and every evaluated batch of
episodes is stored in results.sqlite, so that an interrupted run resumes where it stopped, and a training from its newest
checkpoint.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from hyperexec_env import __version__
from hyperexec_env.baselines.basket_policies import basket_policy, basket_policy_names
from hyperexec_env.baselines.evaluate import announce, check_evaluation, entrants, evaluate, known_optimum
from hyperexec_env.baselines.kinds import evaluate as evaluate_kind
from hyperexec_env.baselines.policies import get_policy, policy_names
from hyperexec_env.checks import check_flag, check_integer
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.board import Board
from hyperexec_env.evaluation.identity import Cell, engines, policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy
from hyperexec_env.evaluation.page import page
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.summary import summary
from hyperexec_env.evaluation.table import markdown, markdown_table, text_table
from hyperexec_env.evaluation.touch_network import load_touch_policy
from hyperexec_env.evaluation.venue_network import load_venue_policy
from hyperexec_env.evaluation.verification import Verification, verify
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenario import Scenario, scenario_names
from hyperexec_env.market.scenarios import AnyScenarioLike, Trainable, get_scenario
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario
from hyperexec_env.progress import progress
from hyperexec_env.workers import check_workers

from . import ppo
from .folder import file_name
from .lock import LOCK, claimed
from .run import begun, check_training, plain_args
from .selection import check_beliefs

__all__ = ["POLICIES", "QUICK", "READERS", "USUAL", "leaderboard", "result_files", "trained_policy", "verified"]


class _Budget(NamedTuple):
    """The size of a leaderboard."""

    training_seeds: int
    timesteps: int
    episodes: int


EveryScenarioLike = AnyScenarioLike | TouchLike | VenueLike
"""What names a scenario of a leaderboard: a name, a dict, a path of a TOML file, or the record."""
READERS: Final[dict[type, Callable[[str | Path], NetworkPolicy]]] = {
    Scenario: load_policy,
    BasketScenario: load_basket_policy,
    TouchScenario: load_touch_policy,
    VenueScenario: load_venue_policy,
}
"""Function that reads a trained policy from a folder, by kind of scenario."""
_WITH_OPTIMUM: Final = (TouchScenario, VenueScenario)
"""Kinds whose boards always show the gap to the optimum."""
POLICIES: Final = "policies"
_PAGE: Final = "leaderboard.html"
_TABLES: Final = (".json", ".md")
"""Names in the folder of the results: the folder of the trained policies, the page, and the ends of the files of a scenario."""
USUAL, QUICK = _Budget(3, 2_000_000, 20_000), _Budget(1, 300_000, 2_000)


def leaderboard(
    scenarios: EveryScenarioLike | Iterable[EveryScenarioLike] = "regime-day",
    *,
    quick: bool = False,
    episodes: int | None = None,
    seed: int = 0,
    training_seeds: int | None = None,
    timesteps: int | None = None,
    observe_beliefs: bool = False,
    optimum: bool = True,
    out: str | os.PathLike[str] = "leaderboard",
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    workers: int = 1,
    ray: str = "",
) -> list[Any]:
    """Train PPO and evaluate all policies on each scenario, and write the results.

    Args:
        scenarios: Names, dicts, paths or records of any kind of scenario; `all`: every scenario of the package with one asset.
            Over venues and at the touch nothing is stored: the policies are evaluated again each time.
        quick: Use the small defaults: one training seed, 300,000 slices, 2,000 episodes.
        episodes: Number of episodes, the same for every policy (default: 20,000).
        seed: Seed of the episodes.
        training_seeds: Number of training seeds, 0, 1, ... (default: 3).
        timesteps: Slices to trade in each training (default: 2,000,000).
        observe_beliefs: Whether the trained policies observe the beliefs about the unknowns of the scenarios.
        optimum: Whether to solve for the optimum and show each policy's gap to it.
        out: Folder of the results.
        store: File in which the results of all episodes are stored (default: results.sqlite in the folder of the results).
        progress: Whether to show progress bars.
        workers: Processes that share the trainings and the batches of episodes; the results are those of one process. A
            training whose process dies goes on from its newest checkpoint in another one.
        ray: Address of a ray cluster that does so instead (extra `dist`), whose nodes share the disk of `out`; "": none.

    Returns:
        The board of each scenario, a :class:`~hyperexec_env.evaluation.board.Board` or that of its kind.

    Raises:
        ValueError: An option is invalid, two scenarios have the same name, or another process writes to the folder.
        MissingExtra: The packages of the extras `train` and `plot` are not installed.
    """
    given = (training_seeds, timesteps, episodes)
    budget = _Budget(
        *(usual if value is None else value for value, usual in zip(given, QUICK if quick else USUAL, strict=True))
    )
    check_integer("training_seeds", budget.training_seeds, low=0, high=1000)
    check_evaluation(budget.episodes, seed)
    check_flag("observe_beliefs", observe_beliefs)
    check_training(ppo.Args(timesteps=budget.timesteps, tensorboard=False))
    need("matplotlib", "plot")
    shared_by = check_workers(workers, ray)
    chosen = [get_scenario(scenario) for scenario in _listed(scenarios)]
    for scenario in chosen:
        if not optimum and type(scenario) in _WITH_OPTIMUM:
            raise ValueError(f"optimum must be True for {scenario.name!r}, got False: its board shows gaps to the optimum")
        check_beliefs(ppo.Args(scenario=scenario, observe_beliefs=observe_beliefs))
    names = [file_name(scenario) for scenario in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"scenario names must differ, got {', '.join(names)}")
    shown = progress and shared_by.alone and sys.stderr.isatty()
    options = ppo.Args(timesteps=budget.timesteps, observe_beliefs=observe_beliefs, tensorboard=False, progress=shown)
    boards = []
    with claimed(out) as folder:
        trainings: list[list[ppo.Args]] = []
        for scenario, name in zip(_listed(scenarios), names, strict=True):
            problem: Any = scenario
            own = [str(folder / POLICIES / f"ppo-{name}-{number}") for number in range(budget.training_seeds)]
            trainings.append([replace(options, scenario=problem, seed=number, out=path) for number, path in enumerate(own)])
        if not shared_by.alone:
            for line in shared_by.map(_training, None, [each for some in trainings for each in some]):
                print(line, flush=True)
        with Store(store_path(out, store)) as results:
            for scenario, name, own_trainings in zip(_listed(scenarios), names, trainings, strict=True):
                judged = _Judged(budget.episodes, seed, optimum, results, workers, ray)
                board = _board(get_scenario(scenario), own_trainings, judged)
                _write(folder, name, board)
                print(f"\n{board}\n", flush=True)
                boards.append(board)
        of_orders = [board for board in boards if isinstance(board, Board)]
        if len(of_orders) > 1 and optimum:
            header, cells, caption = summary(of_orders)
            print(f"{text_table(header, cells)}\n{caption}\n", flush=True)
        words = ["--observe-beliefs"] if observe_beliefs else []
        write_atomically(folder / _PAGE, page(boards, _command(scenarios, budget, seed, words)))
    return boards


def _listed(scenarios: EveryScenarioLike | Iterable[EveryScenarioLike]) -> list[Any]:
    """Return the scenarios as a list, with `all` and `archived` expanded to those scenarios of the package."""
    single = isinstance(scenarios, (str, os.PathLike, Mapping, *READERS))
    given: list[Any] = [scenarios] if single else list(scenarios)  # type: ignore[arg-type]
    words = {"all": False, "archived": True}
    found: list[Any] = []
    for scenario in given:
        known = isinstance(scenario, str) and scenario in words
        found += scenario_names(archived=words[str(scenario)]) if known else [scenario]
    return found


def store_path(out: str | os.PathLike[str], store: str | os.PathLike[str] | None = None) -> Path:
    """Return the file in which a leaderboard stores the results of all episodes."""
    return Path(out) / "results.sqlite" if store is None else Path(store)


def result_files(
    scenarios: EveryScenarioLike | Iterable[EveryScenarioLike],
    out: str | os.PathLike[str],
    store: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Return the files and folders that a leaderboard of some scenarios writes."""
    folder, names = Path(out), [file_name(get_scenario(scenario)) for scenario in _listed(scenarios)]
    tables = [folder / f"{name}{end}" for name in names for end in _TABLES]
    return [store_path(out, store), folder / LOCK, folder / POLICIES, folder / _PAGE, *tables]


class _Judged(NamedTuple):
    """How a board is judged; see :func:`leaderboard`."""

    episodes: int
    seed: int
    optimum: bool
    store: Store
    workers: int
    ray: str


def _training(_: None) -> Callable[[ppo.Args], str]:
    """Return the function of a training: it trains, or finds the policy, and returns a line about it."""

    def train(options: ppo.Args) -> str:
        scenario = get_scenario(options.scenario)
        trained_policy(options, scenario)
        return f"{scenario.name}: PPO, training seed {options.seed}, trained"

    return train


def _board(scenario: Trainable, trainings: Sequence[ppo.Args], judged: _Judged) -> Any:
    """Train and evaluate on one scenario, and return the board of its kind."""
    trained = []
    for number, options in enumerate(trainings, start=1):
        print(f"{scenario.name}: PPO, training seed {options.seed} ({number} of {len(trainings)})", flush=True)
        trained.append(trained_policy(options, scenario))
    if not isinstance(scenario, (Scenario, BasketScenario)):
        shared = {name: getattr(judged, name) for name in ("episodes", "seed", "workers", "ray")}
        return evaluate_kind(scenario, ["all", *trained], **shared)
    policies = entrants(["all", *trained], scenario)
    announce(scenario, policies, judged.episodes, judged.seed)
    return evaluate(scenario, policies, **judged._asdict())


def verified(
    out: str | os.PathLike[str] = "leaderboard", store: str | os.PathLike[str] | None = None, *, optimum: bool = True
) -> Verification:
    """Recompute every stored cell and compare; trained policies are read from OUT/policies, optimal policies solved again.

    Args:
        out: Folder of the results.
        store: File of the results of all episodes (default: results.sqlite in the folder of the results).
        optimum: Whether to verify the optimal policies too.

    Raises:
        ValueError: The store does not exist or cannot be read.
        MissingExtra: The folder has trained policies, and the packages of the extra `train` are not installed.
    """
    path = store_path(out, store)
    if not path.is_file():
        raise ValueError(f"there is no store of results at {path}")
    with Store(path) as results:
        cells = [cell for cell, _ in results.cells()]
        policies = _known_policies(Path(out) / POLICIES)
        if optimum:
            policies |= _optimal_policies(results, [cell for cell in cells if cell.policy not in policies])
        with progress(sum(cell.episodes for cell in cells), f"verify {path}") as advance:
            return verify(results, policies, advance)


def _known_policies(folder: Path) -> dict[str, Policy]:
    """Return the policies of the package and the trained policies of a folder, by policy hash."""
    trained = [_loaded(path.parent) for path in sorted(folder.glob("*/policy.json"))]
    return _by_hash([*map(get_policy, policy_names()), *map(basket_policy, basket_policy_names()), *trained])


def _loaded(folder: Path) -> NetworkPolicy:
    """Return a trained policy of any kind of scenario."""
    *others, last = READERS.values()
    for read in others:
        with suppress(ValueError):
            return read(folder)
    return last(folder)


def _optimal_policies(store: Store, cells: Sequence[Cell]) -> dict[str, Policy]:
    """Return the optimal policies of the scenarios of some cells, by policy hash."""
    known = engines()
    scenarios = dict.fromkeys(cell.scenario for cell in cells if cell.engine in known)
    solved = [known_optimum(store.scenario(scenario)).policy for scenario in scenarios]
    return _by_hash([policy for policy in solved if policy is not None])


def _by_hash(policies: Sequence[Policy]) -> dict[str, Policy]:
    return {identity: policy for policy in policies if (identity := policy_hash(policy)) is not None}


def trained_policy(options: ppo.Args, scenario: Trainable, recording: Recording | None = None) -> NetworkPolicy:
    """Return the policy of a run: loaded if already trained, else trained from the newest checkpoint of the run, if any."""
    try:
        found = READERS[type(scenario)](options.out)
    except ValueError:
        return _train(options, scenario, recording)
    return found if _matches(found, options, scenario, recording) else _train(options, scenario, recording)


def _matches(found: NetworkPolicy, options: ppo.Args, scenario: Trainable, recording: Recording | None) -> bool:
    """Return whether a policy's metadata match the options, the scenario, the days and the version of the package."""
    about = found.about
    args, versions, traded = about.get("args"), about.get("versions"), about.get("timesteps")
    if not (isinstance(args, dict) and isinstance(versions, dict) and isinstance(traded, int)):
        return False
    origin = (about.get("scenario_hash"), versions.get("hyperexec_env"), found.training_seed)
    ignored = ("out", "progress", "scenario", "replay", "checkpoint_every", "resume", "overwrite")
    fixed = ("action_mode",) if isinstance(scenario, TouchScenario) else ()  # always discrete there
    given = {key: value for key, value in plain_args(options, scenario).items() if value is not None}
    compared = {key: value for key, value in given.items() if key not in (*ignored, *fixed)}
    days = about.get("replay", {}).get("days")
    same = origin == (scenario.hash, __version__, options.seed) and compared.items() <= args.items()
    same = same and days == (None if recording is None else recording.digest)
    return same and traded >= options.timesteps


def _train(options: ppo.Args, scenario: Trainable, recording: Recording | None) -> NetworkPolicy:
    """Train a policy, from the newest checkpoint if it belongs to the same training; another run in the folder is deleted."""
    options = replace(options, resume=begun("ppo", scenario, options, recording), overwrite=True)
    return ppo.train(options, again="the same command continues")


def _write(folder: Path, name: str, board: Any) -> None:
    title = f"# {markdown(board.scenario.name)}\n\n"
    if isinstance(board, Board):
        contents = (board.to_json(), title + board.to_markdown())
    else:
        header, cells = board.table()
        parts = [markdown_table(header, [list(map(markdown, line)) for line in cells]), *board.warnings, *board.notes()]
        plain = json.dumps(board.to_dict(), indent=2, allow_nan=False) + "\n"
        contents = (plain, title + "\n\n".join([parts[0], *map(markdown, parts[1:])]) + "\n")
    for end, content in zip(_TABLES, contents, strict=True):
        write_atomically(folder / f"{name}{end}", content)


def _command(
    scenarios: EveryScenarioLike | Iterable[EveryScenarioLike], budget: _Budget, seed: int, more: Sequence[str] = ()
) -> str:
    """Return the command line that reproduces the boards."""
    named = [given if isinstance(given, str) else get_scenario(given).name for given in _listed(scenarios)]
    words = ["hyperexec", "leaderboard", "--scenario", *named, "--seed", str(seed), "--episodes", str(budget.episodes)]
    return shlex.join([*words, "--training-seeds", str(budget.training_seeds), "--timesteps", str(budget.timesteps), *more])
