"""Boards as bundles store them: what was computed, and the rows and raw results that came out, checked before they are used."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_label, shown
from hyperexec_env.evaluation.archive import parse_json
from hyperexec_env.evaluation.board import Failure, Row
from hyperexec_env.evaluation.calibration_error import CalibrationRow
from hyperexec_env.evaluation.rollout import Outcome
from hyperexec_env.evaluation.store import decode_outcome
from hyperexec_env.market.scenarios import AnyScenario

__all__ = ["Plan", "StoredBoard", "read_board"]

_LONGEST: Final = 2000
"""Largest number of characters of a text in a board."""


@dataclass(frozen=True)
class Plan:
    """A board to compute."""

    scenario: AnyScenario
    episodes: int
    seed: int
    entrants: tuple[str, ...]
    """Names of policies of the package, and folders `policies/NN` of submitted ones, in the order of the evaluation."""
    optimum: bool = True
    backend: str = "numpy"
    """"numpy" or "numba"."""

    def to_dict(self) -> dict[str, Any]:
        """Return the description in the manifest."""
        return {
            "scenario": self.scenario.name,
            "scenario_hash": self.scenario.hash,
            "episodes": self.episodes,
            "seed": self.seed,
            "entrants": list(self.entrants),
            "optimum": self.optimum,
            "backend": self.backend,
        }


@dataclass(frozen=True)
class StoredBoard:
    """A board as it was written, and the raw results of its rows."""

    plan: Plan
    rows: tuple[Row, ...]
    failed: tuple[Failure, ...]
    calibration: tuple[CalibrationRow, ...]
    """Rows in the draws of the posterior; empty for a scenario without one."""
    warnings: tuple[str, ...]
    optimum_bps: float | None
    outcomes: tuple[Outcome, ...]
    """Results of every episode, in the order of the rows."""


def read_board(files: Mapping[str, bytes], plan: Plan) -> StoredBoard:
    """Return the board in some files, `board.json`, `results.json` and the files that the latter names.

    Raises:
        ValueError: A field is missing, has the wrong type or is not that of the plan, or the raw results are not those of the
            rows. Other errors (TypeError, KeyError, AttributeError, OverflowError): The structure is damaged.
    """
    plain = parse_json(files["board.json"], "board.json")
    expected = {
        "scenario": plan.scenario.name,
        "scenario_hash": plan.scenario.hash,
        "episodes": plan.episodes,
        "seed": plan.seed,
    }
    for key, value in expected.items():
        if plain[key] != value:
            raise ValueError(f"{key} in board.json must be {shown(value)}, got {shown(plain[key])}")
    rows = tuple(_record(Row, row) for row in plain["rows"])
    calibration = plain.get("calibration") or {"rows": []}
    optimum = plain["optimum_bps"]
    return StoredBoard(
        plan=plan,
        rows=rows,
        failed=tuple(_record(Failure, failure) for failure in plain["failed"]),
        calibration=tuple(_record(CalibrationRow, row, ("verdict",)) for row in calibration["rows"]),
        warnings=tuple(_text("a warning", text) for text in plain["warnings"]),
        optimum_bps=None if optimum is None else _number("optimum_bps", optimum),
        outcomes=_outcomes(files, rows, plan.episodes),
    )


def _outcomes(files: Mapping[str, bytes], rows: tuple[Row, ...], episodes: int) -> tuple[Outcome, ...]:
    """Return the raw results of the rows; each has the episodes of the board, and the mean objective of its row."""
    listed = parse_json(files["results.json"], "results.json")
    if [entry["policy"] for entry in listed] != [row.label for row in rows]:
        raise ValueError("results.json must list the policies of board.json in their order")
    if len({entry["file"] for entry in listed}) + 3 != len(files):
        raise ValueError("the board must hold one file of results for each row, and no other file")
    found = []
    for entry, row in zip(listed, rows, strict=True):
        outcome = decode_outcome(entry["arrays"], files[entry["file"]], str(entry["path_hash"]))
        values = (*outcome.statement[:4], *outcome.statement.components, outcome.forced, outcome.start_regime)
        if any(array.shape != (episodes,) or not np.isfinite(array).all() for array in values):
            raise ValueError(f"the results of {shown(row.label)} must be {episodes:,} finite numbers in each array")
        mean = float(outcome.statement.objective.mean())
        if not math.isclose(mean, row.objective_bps, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(
                f"the mean objective of {shown(row.label)} is {mean:.6g} in its results, {row.objective_bps:.6g} on the board"
            )
        found.append(outcome)
    return tuple(found)


def _record(kind: type, plain: Any, ignored: tuple[str, ...] = ()) -> Any:
    """Return a record of plain values, whose names and types are those of the fields."""
    names = [item.name for item in fields(kind)]
    if not isinstance(plain, dict) or set(plain) - set(ignored) != set(names):
        raise ValueError(f"a {kind.__name__} must have the fields {', '.join(names[:3])}, ..., got {shown(plain)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _value(name, plain[name], hints[name]) for name in names})


def _value(name: str, value: Any, hint: Any) -> Any:
    """Return a value of the type of a field: text, a flag, a whole or a finite number, or numbers by name."""
    if isinstance(hint, types.UnionType):
        return None if value is None else _value(name, value, typing.get_args(hint)[0])
    if hint is str:
        return check_label(name, value) if name == "policy" else _text(name, value)
    if hint is float:
        return _number(name, value)
    if hint in (bool, int):
        if type(value) is not hint:
            raise ValueError(f"{name} must be of type {hint.__name__}, got {shown(value)}")
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, got {shown(value)}")
    return {check_label(name, key): _number(key, number) for key, number in value.items()}


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise ValueError(f"{name} must be text of at most {_LONGEST} characters, got {shown(value)}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}")
    return float(value)
