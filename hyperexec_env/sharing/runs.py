"""What a bundle is made of: the folder of a leaderboard or of a training, folders of policies, and submissions."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hyperexec_env.backends.compiled import resolve_backend
from hyperexec_env.baselines.evaluate import check_evaluation, check_own_name, entrants, known_policies
from hyperexec_env.checks import shown
from hyperexec_env.evaluation.archive import parse_json
from hyperexec_env.evaluation.board import Board
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.submission import CARD, Submission, is_submission, load_submission, read_folder
from hyperexec_env.files import read_regular
from hyperexec_env.market.basket_scenario import BASKETS, BasketScenario
from hyperexec_env.market.scenario import Scenario, scenario_names
from hyperexec_env.market.scenarios import AnyScenario, AnyScenarioLike, get_scenario, scenario_or_basket
from hyperexec_env.sharing.bundle import pack_bundle
from hyperexec_env.sharing.stored import Plan

__all__ = ["make_bundle"]

_STORE: Final = "results.sqlite"
_LARGEST: Final = 2**25
_NOT_STATED: Final = {"authors": ("not stated",), "licence": "not stated", "method": "not stated"}
"""Fields of the card of a trained policy that its folder does not say."""
_TOLERANCE: Final = 1e-6
"""Relative difference up to which two computations of an objective, by other loops, agree."""


@dataclass(frozen=True)
class _Written:
    """A board that a leaderboard wrote: the plan, and the objectives by label."""

    plan: Plan
    objectives: dict[str, float]


def make_bundle(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    scenario: AnyScenarioLike | Sequence[AnyScenarioLike] = (),
    *,
    policies: str | Sequence[str] = "all",
    episodes: int | None = None,
    seed: int | None = None,
    optimum: bool = True,
    backend: str = "numpy",
    trust_code: bool = False,
) -> tuple[bytes, list[Board]]:
    """Compute the boards of some runs, and return the bundle and the boards.

    Args:
        runs: The folder of a leaderboard; or submissions and folders of trained policies, which are judged on one board for
            each scenario.
        scenario: Scenarios or baskets; none: those of the leaderboard, or that of the first training.
        policies: Policies of the package beside them on each board: names and groups.
        episodes: Number of episodes; None: that of the leaderboard, or 10,000.
        seed: Seed of the episodes; None: that of the leaderboard, or 0.
        optimum: Whether to solve for the optimum.
        backend: "numpy", whose results do not depend on a compiler; "numba"; or "auto".
        trust_code: Whether policies that are Python code may run.

    Raises:
        ValueError: A run holds no policy and no board, an option is invalid, or a board of a leaderboard is not what its
            policies achieve.
        MissingExtra: A policy or a backend needs a package that is not installed.
    """
    backend = resolve_backend(backend)
    places = [Path(runs)] if isinstance(runs, (str, os.PathLike)) else [Path(run) for run in runs]
    chosen = _listed(scenario)
    boards = [place for place in places if place.is_dir() and (place / _STORE).exists()]
    if boards:
        if len(places) > 1 or chosen or episodes is not None or seed is not None:
            raise ValueError(f"{boards[0]} is a leaderboard: it is bundled alone, with its own scenarios, episodes and seed")
        return _leaderboard(boards[0], optimum, backend)
    submissions = {f"policies/{number:02d}": _submission(place) for number, place in enumerate(places)}
    scenarios = [scenario_or_basket(each) for each in chosen] or [_training_scenario(places)]
    count, first = check_evaluation(10_000 if episodes is None else episodes, 0 if seed is None else seed)
    plans = []
    for each in scenarios:
        named = [entrant.policy.name for entrant in entrants(policies, each)] if policies else []
        plans.append(Plan(each, count, first, (*named, *submissions), optimum, backend))
    return pack_bundle(plans, submissions, trust_code=trust_code)


def _listed(scenario: Any) -> list[Any]:
    """Return scenarios as a list."""
    single = isinstance(scenario, (str, os.PathLike, dict, Scenario, BasketScenario))
    return [scenario] if single else list(scenario)


def _submission(place: Path) -> Submission:
    """Return the submission in a file, or of the folder of a policy; a folder without a card gets one that states little."""
    if place.is_dir():
        bare = (place / "policy.json").exists() and not (place / CARD).exists()
        return check_own_name(read_folder(place, usual=_NOT_STATED if bare else None))
    if not place.exists():
        raise ValueError(f"there is no run at {place}; give a leaderboard, the folder of a policy, or a submission")
    if not is_submission(place):
        raise ValueError(f"{place} is not a submission; `hyperexec submit` makes one of the folder of a policy")
    return check_own_name(load_submission(place))


def _training_scenario(places: Sequence[Path]) -> AnyScenario:
    """Return the scenario of the first training run."""
    for place in places:
        if place.is_dir() and (place / "scenario.toml").is_file():
            return scenario_or_basket(place / "scenario.toml")
    raise ValueError("scenario must be given: no run is the folder of a training with its scenario.toml")


# --- the folder of a leaderboard


def _leaderboard(folder: Path, optimum: bool, backend: str) -> tuple[bytes, list[Board]]:
    """Return the bundle of a leaderboard, and its boards; boards over venues and at the touch stay out."""
    trained = [path.parent for path in sorted((folder / "policies").glob("*/policy.json")) if _is_bundled(path.parent)]
    submissions = {f"policies/{number:02d}": _submission(place) for number, place in enumerate(trained)}
    origin = {key: each.policy.about.get("scenario_hash") for key, each in submissions.items() if each.policy is not None}
    with Store(folder / _STORE) as store:
        written = [_written(path, store, submissions, origin, optimum, backend) for path in sorted(folder.glob("*.json"))]
    found = [each for each in written if each is not None]
    if not found:
        raise ValueError(f"{folder} holds no board (SCENARIO.json)")
    objectives = {each.plan.scenario.hash: each.objectives for each in found}
    used = {key: value for key, value in submissions.items() if any(key in each.plan.entrants for each in found)}
    return pack_bundle(
        [each.plan for each in found], used, check=lambda plan, board: _check(board, objectives[plan.scenario.hash])
    )


def _is_bundled(place: Path) -> bool:
    """Return whether the policy in a folder was trained on a kind of scenario whose boards a bundle holds."""
    file = place / "scenario.toml"
    return not file.is_file() or isinstance(get_scenario(file), (Scenario, BasketScenario))


def _written(
    path: Path, store: Store, submissions: dict[str, Submission], origin: dict[str, Any], optimum: bool, backend: str
) -> _Written | None:
    """Return the board that a file of a leaderboard holds; None for another file, and for a board of another kind."""
    plain = parse_json(read_regular(path, _LARGEST), str(path))
    if not isinstance(plain, dict) or not {"scenario", "scenario_hash", "episodes", "seed", "rows"} <= set(plain):
        return None
    if not all("optimum" in row for row in plain["rows"]):  # over venues, or at the touch
        return None
    digest, rows = plain["scenario_hash"], [row for row in plain["rows"] if not row["optimum"]]
    names = [name for archived in (False, True) for name in scenario_names(archived=archived)]
    known = [scenario_or_basket(name) for name in (*names, *BASKETS.names())]
    scenario = next((each for each in known if each.hash == digest and each.name == plain["scenario"]), None)
    stored = scenario or store.scenario(str(digest))
    seeds = {(row["policy"], row["training_seed"]) for row in rows}
    names = [name for name in known_policies(stored) if (name, None) in seeds]
    own = [
        key
        for key, submission in submissions.items()
        if origin[key] == digest and (submission.card.name, submission.card.training_seed) in seeds
    ]
    if len(names) + len(own) != len(rows):
        raise ValueError(f"{path}: the folder must hold every policy of the board, got {len(names) + len(own)} of {len(rows)}")
    episodes, seed = check_evaluation(plain["episodes"], plain["seed"])
    solved = optimum and any(plain.get(key) is not None for key in ("optimum_bps", "bound_bps"))
    objectives = {_label(row): float(row["objective_bps"]) for row in rows}
    return _Written(Plan(stored, episodes, seed, (*names, *own), solved, backend), objectives)


def _label(row: Any) -> str:
    return str(row["policy"]) if row["training_seed"] is None else f"{row['policy']} (seed {row['training_seed']})"


def _check(board: Board, objectives: dict[str, float]) -> None:
    """Check that a leaderboard wrote what its policies achieve."""
    for row in board.rows:
        stated = objectives.get(row.label, row.objective_bps)
        if not math.isclose(stated, row.objective_bps, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            raise ValueError(
                f"the board of {shown(board.scenario.name)} states {stated:.6f} bps for {shown(row.label)}, which achieves "
                f"{row.objective_bps:.6f}: the board or the policy was changed"
            )
