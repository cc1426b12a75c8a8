"""Bundles: boards with everything that another machine needs to compute them again, in one archive.

A bundle holds, for each board, the scenario (`scenario.toml`), the board as the commands write it (`board.json`), and the raw
results of every episode of every row (`results.json` and one file of numbers each row); and the files of each submitted policy.
Policies of the package are named. Every board is computed by one function, :func:`board_files`, which
:mod:`~hyperexec_env.sharing.verification` calls again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hyperexec_env.backends.compiled import BACKENDS
from hyperexec_env.baselines.evaluate import (
    check_evaluation,
    check_own_name,
    check_trades,
    entrants,
    evaluate,
    named_policy,
)
from hyperexec_env.checks import check_choice, check_flag, check_label, one_line, shown
from hyperexec_env.evaluation.archive import Archive, pack, to_json, unpack
from hyperexec_env.evaluation.board import Board, Entrant
from hyperexec_env.evaluation.foreign import ForeignPolicy
from hyperexec_env.evaluation.store import encode_outcome
from hyperexec_env.evaluation.submission import Submission, archive_files, submission_of
from hyperexec_env.evaluation.tally import group_size
from hyperexec_env.market.scenario_file import parse_toml
from hyperexec_env.market.scenarios import AnyScenario, complete_scenario
from hyperexec_env.sharing.stored import Plan, StoredBoard, read_board
from hyperexec_env.sharing.versions import installed_versions

__all__ = ["Bundle", "board_files", "compute", "pack_bundle", "read_bundle", "used_by"]

_BOARD_FIELDS: Final = {"scenario", "scenario_hash", "episodes", "seed", "optimum", "backend", "entrants"}
_MOST_BOARDS: Final = 99
_MOST_ENTRANTS: Final = 500
_UNREADABLE: Final = (TypeError, KeyError, AttributeError, ValueError, OverflowError)


@dataclass(frozen=True)
class Bundle:
    """Content of a bundle."""

    plans: tuple[Plan, ...]
    policies: Mapping[str, Submission]
    """Submitted policies by folder."""
    versions: Mapping[str, str]
    """What the results depended on where the bundle was made."""
    boards: tuple[StoredBoard, ...]
    """The boards as they were written, in the order of the plans."""
    files: Mapping[str, bytes]
    sha256: str

    @property
    def has_code(self) -> bool:
        """Whether a policy is Python code."""
        return any(policy.kind == "code" for policy in self.policies.values())

    def used(self) -> set[str]:
        """Return the backends and the kinds of policies that compute the results."""
        return used_by(self.plans, self.policies)


def used_by(plans: Sequence[Plan], policies: Mapping[str, Submission]) -> set[str]:
    """Return the backends of some boards and the kinds of some policies."""
    return {plan.backend for plan in plans} | {policy.kind for policy in policies.values()}


def pack_bundle(
    plans: Sequence[Plan],
    policies: Mapping[str, Submission],
    *,
    trust_code: bool = False,
    check: Callable[[Plan, Board], None] = lambda plan, board: None,
) -> tuple[bytes, list[Board]]:
    """Compute boards, and return the bundle and the boards.

    Args:
        plans: The boards.
        policies: Submitted policies by folder.
        trust_code: Whether policies that are Python code may run.
        check: Called with each board that was computed.

    Raises:
        ValueError: A policy is code that may not run, a board has too many episodes, or a check fails.
        MissingExtra: A policy or a backend needs a package that is not installed.
    """
    if not plans or len(plans) > _MOST_BOARDS:
        raise ValueError(f"a bundle may hold 1 to {_MOST_BOARDS} boards, got {len(plans)}")
    files, boards = dict[str, bytes](), []
    for folder, submission in policies.items():
        files |= {f"{folder}/{name}": content for name, content in archive_files(submission).items()}
    for number, plan in enumerate(plans):
        board = compute(plan, policies, trust_code)
        check(plan, board)
        files |= board_files(f"boards/{number:02d}", board)
        boards.append(board)
    about = {"boards": [plan.to_dict() for plan in plans], "versions": installed_versions(used_by(plans, policies))}
    return pack("bundle", about, files), boards


def compute(plan: Plan, policies: Mapping[str, Submission], trust_code: bool) -> Board:
    """Return the board of a plan.

    Raises:
        ValueError: A policy is code that may not run or trades no such scenario, or the board has too many episodes or
            entrants.
    """
    chosen: list[Entrant] = []
    for name in plan.entrants:
        if name in policies:
            chosen.append(check_trades(check_own_name(policies[name]), plan.scenario).entrant(trust_code))
        else:
            chosen += entrants(named_policy(name, plan.scenario), plan.scenario)
    if group_size(plan.episodes, len(chosen) + 2) > 1:
        most = f"a bundle holds every episode; {plan.episodes:,} episodes of {len(chosen)} policies are too many"
        raise ValueError(f"{most}; use fewer episodes")
    try:
        return evaluate(
            plan.scenario,
            chosen,
            episodes=plan.episodes,
            seed=plan.seed,
            optimum=plan.optimum,
            backend=plan.backend,
        )
    finally:
        for entrant in chosen:
            if isinstance(entrant.policy, ForeignPolicy):
                entrant.policy.close()


def board_files(folder: str, board: Board) -> dict[str, bytes]:
    """Return the files of a board by their names in the bundle."""
    files, listed = {}, []
    for number, (row, outcome) in enumerate(zip(board.rows, board.outcomes, strict=True)):
        arrays, raw = encode_outcome(outcome)
        name = f"results/{number:03d}.bin"
        files[f"{folder}/{name}"] = raw
        listed.append({"policy": row.label, "path_hash": outcome.path_hash, "arrays": arrays, "file": name})
    files[f"{folder}/results.json"] = to_json(listed)
    files[f"{folder}/board.json"] = board.to_json().encode()
    files[f"{folder}/scenario.toml"] = board.scenario.to_toml().encode()
    return files


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle; nothing of it is run.

    Raises:
        ValueError: The file is not an intact bundle; the message names the fault.
        MissingExtra: A policy is a network, and safetensors is not installed.
    """
    archive = unpack(path, ("bundle",))
    try:
        return _bundle(archive)
    except _UNREADABLE as error:
        raise ValueError(f"{os.fspath(path)}: {one_line(str(error))}") from None


def _bundle(archive: Archive) -> Bundle:
    about = archive.about
    if set(about) != {"boards", "versions"} or not isinstance(about["boards"], list) or not isinstance(about["versions"], dict):
        raise ValueError("the manifest of a bundle must hold boards and versions")
    if not 1 <= len(about["boards"]) <= _MOST_BOARDS:
        raise ValueError(f"a bundle may hold 1 to {_MOST_BOARDS} boards, got {len(about['boards'])}")
    versions = {check_label("name in versions", key): _version(key, value) for key, value in about["versions"].items()}
    policies = _policies(archive.files)
    plans = tuple(_plan(number, entry, archive.files, policies) for number, entry in enumerate(about["boards"]))
    known = {f"boards/{number:02d}" for number in range(len(plans))} | set(policies)
    other = [name for name in archive.files if "/".join(name.split("/")[:2]) not in known]
    if other:
        raise ValueError(f"the bundle holds a file of no board and no policy, {shown(other[0])}")
    boards = tuple(_stored(number, plan, archive.files) for number, plan in enumerate(plans))
    return Bundle(plans, policies, versions, boards, archive.files, archive.sha256)


def _stored(number: int, plan: Plan, files: Mapping[str, bytes]) -> StoredBoard:
    """Return a board as it was written; its head must be that of the plan."""
    folder = f"boards/{number:02d}"
    try:
        return read_board(
            {name.removeprefix(f"{folder}/"): data for name, data in files.items() if name.startswith(folder)}, plan
        )
    except _UNREADABLE as error:
        raise ValueError(f"{folder}: {one_line(str(error))}") from None


def _version(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 1000:
        raise ValueError(f"the version of {key} must be printable text, got {shown(value)}")
    return value


def _policies(files: Mapping[str, bytes]) -> dict[str, Submission]:
    """Return the submitted policies of a bundle by folder."""
    found: dict[str, dict[str, bytes]] = {}
    for name, content in files.items():
        top, _, rest = name.partition("/")
        number, _, file = rest.partition("/")
        if top == "policies":
            found.setdefault(f"{top}/{number}", {})[file] = content
    policies = {}
    for folder, contents in found.items():
        try:
            policies[folder] = check_own_name(submission_of(contents))
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from None
    return policies


def _plan(number: int, entry: Any, files: Mapping[str, bytes], policies: Mapping[str, Submission]) -> Plan:
    """Return the plan of a board from its entry in the manifest."""
    if not isinstance(entry, dict) or set(entry) != _BOARD_FIELDS:
        raise ValueError(f"board {number} must have the fields {', '.join(sorted(_BOARD_FIELDS))}")
    folder = f"boards/{number:02d}"
    for name in ("scenario.toml", "board.json", "results.json"):
        if f"{folder}/{name}" not in files:
            raise ValueError(f"the bundle holds no {folder}/{name}")
    scenario = _scenario(files[f"{folder}/scenario.toml"], folder)
    if (scenario.name, scenario.hash) != (entry["scenario"], entry["scenario_hash"]):
        named = f"{shown(entry['scenario'])} ({shown(entry['scenario_hash'])})"
        raise ValueError(f"{folder}/scenario.toml is {scenario.name} ({scenario.hash}), but the manifest names {named}")
    names = entry["entrants"]
    if not isinstance(names, list) or not 1 <= len(names) <= _MOST_ENTRANTS or not all(isinstance(name, str) for name in names):
        raise ValueError(f"entrants of {folder} must be a list of 1 to {_MOST_ENTRANTS} names, got {shown(names)}")
    episodes, seed = check_evaluation(entry["episodes"], entry["seed"])
    plan = Plan(scenario, episodes, seed, tuple(names), check_flag("optimum", entry["optimum"]), "numpy")
    for name in names:
        if name not in policies:
            named_policy(name, scenario)
    return replace(plan, backend=check_choice("backend", entry["backend"], [name for name in BACKENDS if name != "auto"]))


def _scenario(content: bytes, folder: str) -> AnyScenario:
    """Return the scenario in a file of a bundle."""
    try:
        scenario = complete_scenario(parse_toml(content.decode()))
    except UnicodeDecodeError:
        raise ValueError(f"{folder}/scenario.toml is not text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"{folder}/scenario.toml: {error}") from None
    if scenario.to_toml().encode() != content:
        raise ValueError(f"{folder}/scenario.toml is not the text that the program writes for this scenario")
    return scenario
