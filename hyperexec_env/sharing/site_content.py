"""What a site shows: the boards of a folder of bundles, whether they were verified, and what a reader must know of each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hyperexec_env.checks import printable
from hyperexec_env.evaluation.archive import parse_json, unpack
from hyperexec_env.evaluation.board import Row
from hyperexec_env.evaluation.submission import Submission
from hyperexec_env.files import read_regular
from hyperexec_env.sharing.bundle import Bundle, read_bundle
from hyperexec_env.sharing.stored import StoredBoard
from hyperexec_env.sharing.submit import file_safe
from hyperexec_env.sharing.versions import different_versions, installed_versions

__all__ = ["VERDICT", "Posted", "posted_boards"]

VERDICT: Final = ".verdict.json"
"""End of the name of the verdict beside a bundle, which `hyperexec verify BUNDLE --json BUNDLE.verdict.json` writes."""
_STATES: Final = {"equal": "verified", "last bits": "verified to the last bits", "different": "NOT VERIFIED"}
_FEW_SEEDS: Final = 3
_FEW_EPISODES: Final = 1000
_MOST: Final = 1000
"""Largest number of bundles of a site."""


@dataclass(frozen=True)
class Posted:
    """A board on a site."""

    board: StoredBoard
    number: int
    """Number of the board in its bundle."""
    bundle: Bundle
    file: str
    """Name of the file of the bundle."""
    state: str
    """Whether the bundle was verified: "verified", "verified to the last bits", "NOT VERIFIED" or "unverified"."""
    other_versions: tuple[str, ...]
    """Names of the versions that differ from those of this installation."""

    @property
    def slug(self) -> str:
        """Name of the files of the board."""
        return f"{file_safe(self.board.plan.scenario.name)}-{self.bundle.sha256[:8]}-{self.number}"

    @property
    def page(self) -> str:
        """Name of the page of the scenario."""
        scenario = self.board.plan.scenario
        return f"{file_safe(scenario.name)}-{scenario.hash[:8]}.html"

    def submission(self, row: Row) -> Submission | None:
        """Return the submission of a row; None for a policy of the package."""
        for name in self.board.plan.entrants:
            found = self.bundle.policies.get(name)
            if found is not None and (found.card.name, found.card.training_seed) == (row.policy, row.training_seed):
                return found
        return None

    def seeds(self, row: Row) -> int:
        """Return the number of trainings of the policy of a row on the board; 0 for a policy that was not trained.

        Rows with the same objective to the last bit are one training: other seeds alone do not make another policy.
        """
        found = {each.objective_bps for each in self.board.rows if each.policy == row.policy and each.training_seed is not None}
        return len(found)

    def warnings(self, row: Row) -> list[str]:
        """Return what a reader must know of a row, in short texts."""
        found, seeds, submission = [], self.seeds(row), self.submission(row)
        if submission is not None and submission.kind == "code":
            found.append("code, which can compute the episodes of a known seed")
        if self.state != "verified":
            found.append(self.state)
        if row.training_seed is not None and seeds < _FEW_SEEDS:
            found.append(f"{seeds} training seed{'s' * (seeds > 1)}")
        if self.board.plan.episodes < _FEW_EPISODES:
            found.append(f"{self.board.plan.episodes} episodes")
        found += [each.verdict for each in self.board.calibration if each.policy == row.label]
        if self.other_versions:
            found.append(f"other versions: {', '.join(self.other_versions)}")
        if self.board.warnings:
            found.append("warning of the board")
        return found


def posted_boards(folder: str | os.PathLike[str]) -> list[Posted]:
    """Return the boards of all bundles of a folder, by the names of scenarios and files; submissions are left out.

    Raises:
        ValueError: The folder cannot be read or holds no bundle, or a bundle or a verdict is damaged.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ValueError(f"there is no folder {place}")
    files = sorted(path for path in place.iterdir() if path.suffix == ".zip")
    if len(files) > _MOST:
        raise ValueError(f"a site may hold {_MOST:,} bundles, got {len(files):,}")
    found: list[Posted] = []
    hashes: dict[str, str] = {}
    for path in files:
        if unpack(path).kind != "bundle":
            continue
        bundle = read_bundle(path)
        if bundle.sha256 in hashes:
            raise ValueError(f"{path} and {hashes[bundle.sha256]} are the same bundle; remove one")
        hashes[bundle.sha256] = path.name
        found += _posted(path, bundle)
    if not found:
        raise ValueError(f"{place} holds no bundle; `hyperexec bundle RUN --out {place}/NAME.zip` makes one")
    return sorted(
        found, key=lambda each: (each.board.plan.scenario.name, each.board.plan.scenario.hash, each.file, each.number)
    )


def _posted(path: Path, bundle: Bundle) -> list[Posted]:
    state = _state(path, bundle.sha256)
    lines = different_versions(bundle.versions, installed_versions(bundle.used()))
    names = [printable(line.partition(":")[0]) for line in lines]
    other = tuple("code" if name == "engine" else name for name in names)
    return [Posted(board, number, bundle, path.name, state, other) for number, board in enumerate(bundle.boards)]


def _state(path: Path, sha256: str) -> str:
    """Return whether the verdict beside a bundle is of this bundle, and what it says."""
    file = path.with_name(path.name + VERDICT)
    if not file.exists():
        return "unverified"
    plain: Any = parse_json(read_regular(file, 2**24), str(file))
    if not isinstance(plain, Mapping) or plain.get("sha256") != sha256:
        return "unverified"
    return _STATES.get(str(plain.get("verdict")), "unverified")


def scenarios_of(posted: Sequence[Posted]) -> dict[str, list[Posted]]:
    """Return the boards by the page of their scenario."""
    found: dict[str, list[Posted]] = {}
    for each in posted:
        found.setdefault(each.page, []).append(each)
    return found
