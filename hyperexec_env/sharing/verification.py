"""Verify an archive: check its bytes, compare versions, compute its boards again and compare every byte."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import printable, shown
from hyperexec_env.evaluation.archive import parse_json, unpack
from hyperexec_env.evaluation.submission import load_submission
from hyperexec_env.sharing.bundle import Bundle, board_files, compute, read_bundle
from hyperexec_env.sharing.stored import Plan
from hyperexec_env.sharing.versions import different_versions, installed_versions

__all__ = ["BoardVerdict", "FileVerdict", "verify_file"]

_ROUNDING: Final = 1e-9
"""Difference of two numbers, relative and absolute in bps, up to which only their last bits differ."""
_SHOWN: Final = 5
"""Largest number of differences that a report lists for each board."""


@dataclass(frozen=True)
class Change:
    """The differences of one file of a board."""

    file: str
    text: str
    """What differs, and by how much."""
    last_bits: bool
    """Whether the file differs by rounding only."""


@dataclass(frozen=True)
class BoardVerdict:
    """What a second computation of a board found."""

    scenario: str
    scenario_hash: str
    episodes: int
    policies: int
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        """The verdict: "equal", "last bits" or "different"."""
        return _verdict(self.changes)

    def __str__(self) -> str:
        """Return the finding, one line and one for each of the first differences."""
        head = f"{printable(self.scenario)} ({self.scenario_hash}), {self.policies} policies, {self.episodes:,} episodes: "
        if not self.changes:
            return f"{head}equal to the byte"
        more = len(self.changes) - _SHOWN
        lines = [f"  {change.file}: {change.text}" for change in self.changes[:_SHOWN]]
        return "\n".join([f"{head}{_WORDS[self.verdict]}", *lines, *([f"  and {more} more files"] if more > 0 else [])])


_WORDS: Final = {"equal": "equal to the byte", "last bits": "only last bits differ", "different": "DIFFERENT"}


def _verdict(changes: tuple[Change, ...]) -> str:
    return "different" if not all(change.last_bits for change in changes) else "last bits" if changes else "equal"


@dataclass(frozen=True)
class FileVerdict:
    """The verification of a submission or a bundle."""

    file: str
    sha256: str
    kind: str
    versions: tuple[str, ...]
    """Versions that differ, one line each."""
    boards: tuple[BoardVerdict, ...]
    note: str = ""

    @property
    def verdict(self) -> str:
        """The verdict: "equal", "last bits", "different", or "intact" for a submission."""
        if self.kind == "submission":
            return "intact"
        return _verdict(tuple(change for board in self.boards for change in board.changes))

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 only if every byte is equal."""
        return 0 if self.verdict in ("equal", "intact") else 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        boards = [{**asdict(board), "verdict": board.verdict} for board in self.boards]
        plain = {"file": self.file, "sha256": self.sha256, "kind": self.kind, "verdict": self.verdict}
        return {**plain, "versions": list(self.versions), "boards": boards, "note": self.note}

    def __str__(self) -> str:
        """Return the report."""
        lines = [f"{self.file}: {self.kind}, sha256 {self.sha256}", *(f"version of {line}" for line in self.versions)]
        lines += [*map(str, self.boards), *filter(None, [self.note])]
        end = {
            "intact": "INTACT: every hash is right, and the policy can be read",
            "equal": "VERIFIED: every result is equal to the byte",
            "last bits": "NOT EQUAL TO THE BYTE: only last bits differ, as they do with another numpy, processor or libm",
            "different": "NOT VERIFIED: the file does not hold what its policies achieve here",
        }[self.verdict]
        return "\n".join([*lines, end])


def verify_file(path: str | os.PathLike[str], *, trust_code: bool = False) -> FileVerdict:
    """Verify a submission or a bundle.

    Args:
        path: The file.
        trust_code: Whether policies that are Python code may run.

    Raises:
        ValueError: The file is damaged, or holds code that may not run; the message names the fault.
        MissingExtra: A policy or a backend needs a package that is not installed.
    """
    name = os.fspath(path)
    archive = unpack(path)
    if archive.kind == "submission":
        found = load_submission(path)
        note = f"{found.card.name} by {', '.join(found.card.authors)}, {found.kind}; not run"
        return FileVerdict(name, archive.sha256, "submission", (), (), note)
    bundle = read_bundle(path)
    if bundle.has_code and not trust_code:
        code = next(policy.card.name for policy in bundle.policies.values() if policy.kind == "code")
        raise ValueError(
            f"{name}: the policy {code!r} is Python code, and to verify the bundle runs it: code can read your files and use "
            "your network; read it, then pass --trust-code"
        )
    boards = tuple(_board(bundle, number, plan, trust_code) for number, plan in enumerate(bundle.plans))
    versions = different_versions(bundle.versions, installed_versions(bundle.used()))
    return FileVerdict(name, bundle.sha256, "bundle", tuple(versions), boards)


def _board(bundle: Bundle, number: int, plan: Plan, trust_code: bool) -> BoardVerdict:
    """Compute a board again and compare its files."""
    folder = f"boards/{number:02d}"
    made = board_files(folder, compute(plan, bundle.policies, trust_code))
    stored = {name: content for name, content in bundle.files.items() if name.startswith(f"{folder}/")}
    names = sorted({*made, *stored})
    changes = tuple(_change(name, stored, made) for name in names if made.get(name) != stored.get(name))
    return BoardVerdict(plan.scenario.name, plan.scenario.hash, plan.episodes, len(plan.entrants), changes)


def _change(name: str, stored: Mapping[str, bytes], made: Mapping[str, bytes]) -> Change:
    """Return the differences of a file that is not the same in the bundle and here."""
    if name not in stored or name not in made:
        return Change(name, "only in the bundle" if name in stored else "missing in the bundle", False)
    if name.endswith(".bin"):
        return _numbers(name, stored[name], made[name])
    if not name.endswith(".json"):
        return Change(name, "another text", False)
    places: list[tuple[str, Any, Any]] = []
    _walk("", parse_json(stored[name], name), parse_json(made[name], name), places)
    if not places:
        return Change(name, "the same values, written in another way", False)
    bits = all(_close(left, right) for _, left, right in places)
    place, left, right = next(item for item in places if bits or not _close(*item[1:]))
    count = f"{len(places)} {'value differs' if len(places) == 1 else 'values differ'}"
    return Change(name, f"{count}, first {place}: {shown(left)} in the bundle, {shown(right)} here", bits)


def _numbers(name: str, stored: bytes, made: bytes) -> Change:
    """Return the differences of two files of numbers of 8 bytes."""
    if len(stored) != len(made):
        return Change(name, f"{len(stored):,} bytes in the bundle, {len(made):,} here", False)
    left, right = np.frombuffer(stored, "<f8"), np.frombuffer(made, "<f8")
    differs = left.view(np.uint64) != right.view(np.uint64)
    with np.errstate(all="ignore"):
        off = np.abs(left - right)
        whole = off < np.finfo(float).tiny  # whole numbers are subnormal as floats, and never differ by rounding
        far = differs & (~(off <= _ROUNDING * (1.0 + np.abs(left))) | whole)
    largest = float(np.max(off[differs & ~whole], initial=0.0))
    return Change(name, f"{int(differs.sum()):,} of {len(left):,} numbers differ, by up to {largest:.3g}", not far.any())


def _walk(place: str, left: Any, right: Any, found: list[tuple[str, Any, Any]]) -> None:
    """Collect the places in which two JSON values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in {**left, **right}:
            _walk(f"{place}.{key}".lstrip("."), left.get(key), right.get(key), found)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, pair in enumerate(zip(left, right, strict=True)):
            _walk(f"{place}[{index}]", *pair, found)
    elif type(left) is not type(right) or left != right:
        found.append((printable(place), left, right))


def _close(left: Any, right: Any) -> bool:
    if not (isinstance(left, float) and isinstance(right, float)):
        return False
    return abs(left - right) <= _ROUNDING * (1.0 + abs(left))
