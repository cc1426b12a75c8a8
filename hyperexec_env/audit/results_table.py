"""Tables of results of anybody: one row for each episode of a policy, or one for each policy.

A csv or JSON file with a header of usual names is read, a board of ``hyperexec evaluate --json``, and a store of this package.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hyperexec_env.checks import nearest, shown
from hyperexec_env.evaluation.store import Store
from hyperexec_env.files import csv_rows, open_regular, read_regular

__all__ = ["COLUMNS", "Results", "Row", "read_results"]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "policy": ("policy", "algo", "algorithm", "agent", "method", "model", "strategy"),
    "training_seed": ("training_seed", "train_seed", "learner_seed"),
    "seed": ("seed", "test_seed", "eval_seed", "env_seed", "evaluation_seed"),
    "episode": ("episode", "episode_id", "ep", "path", "trial", "instance", "day", "date"),
    "cost": (
        "cost",
        "cost_bps",
        "objective_bps",
        "is_bps",
        "shortfall_bps",
        "implementation_shortfall",
        "shortfall",
        "slippage",
    ),
    "reward": ("reward", "return", "episode_reward", "episodic_return", "score", "pnl"),
    "scenario": ("scenario", "env", "env_id", "market"),
    "split": ("split", "subset", "phase"),
    "selection_seed": ("selection_seed", "validation_seed", "checkpoint_seed"),
    "checkpoint": ("checkpoint", "step", "timesteps", "global_step"),
    "status": ("status", "state", "failed", "error"),
    "low": ("low", "ci_low", "lower", "objective_low", "cost_low"),
    "high": ("high", "ci_high", "upper", "objective_high", "cost_high"),
    "episodes": ("episodes", "n", "n_episodes", "count"),
    "difference": ("difference", "diff", "diff_to_twap_bps", "difference_bps"),
}
"""Column -> usual names, in lower case. A table has `policy` and `cost`, or `reward` (a cost with the opposite sign)."""
_LARGEST: Final = 2**28
_FINE: Final = ("", "0", "false", "ok", "done", "success", "finished", "none", "nan", "completed")
"""Values of `status`, in lower case, that are no failure."""

_NO_NUMBER: Final = ("", "nan", "inf", "-inf", "none", "null")
"""Values of a cost, in lower case, that stand for a run without one."""
_NAMED: Final = ("policy", "training_seed", "checkpoint", "scenario", "split", "seed", "episode", "selection_seed")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: an episode of a policy, or the mean of a policy."""

    policy: str
    training_seed: str
    """"" if the table has none; so for every text."""
    checkpoint: str
    scenario: str
    split: str
    seed: str
    episode: str
    selection_seed: str
    cost: float
    """NaN where the row has no number, or the run failed."""

    @property
    def entrant(self) -> tuple[str, str, str]:
        """What was judged: policy, training seed and checkpoint."""
        return self.policy, self.training_seed, self.checkpoint

    @property
    def key(self) -> tuple[str, str]:
        """The episode: seed and number."""
        return self.seed, self.episode


@dataclass(frozen=True)
class Results:
    """Results of some policies."""

    source: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    """Columns that the table has, of :data:`COLUMNS`."""
    summary: bool
    """Whether a row is the mean of a policy, not an episode."""
    own: bool = False
    """Whether this package wrote the table: no training meets the episodes of its boards."""
    paired: bool = False
    """Whether a summary has paired differences."""
    intervals: bool = False
    """Whether every mean of a summary has an interval."""
    counts: tuple[float, ...] = ()
    """Episodes of each row of a summary, where it says so."""
    failures: tuple[str, ...] = ()
    """Policies that a board lists as failed."""
    notes: tuple[str, ...] = ()

    def label(self, entrant: Sequence[str]) -> str:
        """Return the name of an entrant."""
        policy, training_seed, checkpoint = entrant
        about = [f"seed {training_seed}"] * bool(training_seed) + [f"checkpoint {checkpoint}"] * bool(checkpoint)
        return f"{policy} ({', '.join(about)})" if about else policy


def read_results(path: str, columns: Mapping[str, str] | None = None, of_scenario: str = "") -> Results:
    """Read results from a file: csv (or csv.gz), JSON, or a store of this package.

    Args:
        path: The file.
        columns: Column of :data:`COLUMNS` -> its name in the table, where it has another name.
        of_scenario: Scenario whose rows are kept; "": the only one.

    Raises:
        ValueError: The file cannot be read, has no column of policies or of costs, or holds several scenarios.
    """
    wanted = dict(columns or {})
    for name in wanted:
        if name not in COLUMNS:
            raise ValueError(f"unknown column {shown(name)}{nearest(name, COLUMNS)} (known: {', '.join(COLUMNS)})")
    head = _head(path)
    if head.startswith(b"SQLite format 3\0"):
        return _only(_of_store(path), of_scenario)
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        kind = "a zip archive" if head[:2] == b"PK" else "a pickle"
        raise ValueError(
            f"{path} is {kind}, which is never opened because a pickle runs code when it is read; write a csv file"
        )
    if head.lstrip()[:1] in (b"{", b"["):
        return _only(_of_json(path, wanted), of_scenario)
    lines = csv_rows(Path(path))
    try:
        _, header = next(lines)
    except StopIteration:
        raise ValueError(f"{path} is empty") from None
    return _only(_of_table(path, header, lines, wanted), of_scenario)


def _head(path: str) -> bytes:
    """Return the first bytes of a regular file.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(64)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None


def _only(results: Results, scenario: str) -> Results:
    """Return the results of one scenario.

    Raises:
        ValueError: There are several and none is chosen, or the chosen one is missing.
    """
    names = sorted({row.scenario for row in results.rows})
    if scenario and scenario not in names:
        raise ValueError(f"{results.source} has no scenario {shown(scenario)}{nearest(scenario, names)}")
    if not scenario and len(names) > 1:
        listed = ", ".join(names[:8])
        raise ValueError(f"{results.source} holds {len(names)} scenarios: choose one by --scenario ({listed})")
    kept = tuple(row for row in results.rows if not scenario or row.scenario == scenario)
    return Results(**{**{name: getattr(results, name) for name in results.__dataclass_fields__}, "rows": kept})


def _of_store(path: str) -> Results:
    """Return the results of a store of this package: objectives of the newest code that it holds."""
    rows: list[Row] = []
    with Store(path) as store:
        cells = store.cells()
        engines = sorted({cell.engine for cell, _ in cells})
        for cell, name in cells:
            outcome = store.get(cell)
            if outcome is None:
                continue
            label = f"{name} [{cell.policy[:6]}]{' (regime hidden)' if cell.hidden else ''}"
            if len(engines) > 1:
                label += f" code {cell.engine[:6]}"
            scenario = store.scenario(cell.scenario).name
            for number, cost in enumerate(outcome.statement.objective.tolist(), start=cell.first):
                rows.append(Row(label, "", "", scenario, "", str(cell.seed), str(number), "", cost))
    if not rows:
        raise ValueError(f"the store {path} holds no results")
    note = "The store does not say which seed a policy was trained with; the cost is the objective J."
    return Results(path, _short_names(rows), ("policy", "seed", "episode", "cost", "scenario"), False, own=True, notes=(note,))


def _short_names(rows: list[Row]) -> tuple[Row, ...]:
    """Return rows in which a policy has its hash only where two of its name differ."""
    names: dict[str, set[str]] = {}
    for row in rows:
        names.setdefault(row.policy.partition(" [")[0] + row.policy.partition("]")[2], set()).add(row.policy)
    short = {label: name for name, labels in names.items() if len(labels) == 1 for label in labels}
    return tuple(
        Row(short.get(row.policy, row.policy), "", "", row.scenario, "", row.seed, row.episode, "", row.cost) for row in rows
    )


def _of_json(path: str, wanted: Mapping[str, str]) -> Results:
    """Return the results of a JSON file: a board of this package, a list of rows, or a dictionary of columns."""
    try:
        content = json.loads(read_regular(path, _LARGEST))
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("rows"), list) and "scenario_hash" in content:
        return _of_board(path, content)
    if isinstance(content, dict) and isinstance(content.get("rows"), list):
        content = content["rows"]
    if isinstance(content, dict) and content and all(isinstance(values, list) for values in content.values()):
        if len({len(values) for values in content.values()}) > 1:
            raise ValueError(f"the columns of {path} must have the same length")
        content = [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]
    if not isinstance(content, list) or not content or not all(isinstance(row, dict) for row in content):
        raise ValueError(f"{path} must be a list of rows, a dictionary of columns or a board, got {shown(content)}")
    header = list(dict.fromkeys(str(key) for row in content for key in row))
    lines = ((number, [_text(row.get(name)) for name in header]) for number, row in enumerate(content, start=1))
    return _of_table(path, header, lines, wanted)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _of_board(path: str, board: Mapping[str, Any]) -> Results:
    """Return the results of a board of ``hyperexec evaluate --json``.

    Raises:
        ValueError: A row is not one of a board.
    """
    try:
        rows = tuple(
            Row(
                str(row["policy"]),
                _text(row["training_seed"]),
                "",
                str(board["scenario"]),
                "",
                _text(board["seed"]),
                "",
                "",
                _number(row["objective_bps"]),
            )
            for row in board["rows"]
        )
        intervals = all(math.isfinite(float(row[end])) for row in board["rows"] for end in ("objective_low", "objective_high"))
        counts = (float(board["episodes"]),) * len(rows)
        failures = tuple(str(item["policy"]) for item in board.get("failed", ()))
        paired = all("diff_to_twap_low" in row for row in board["rows"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a board: {type(error).__name__}: {error}") from None
    names = ("policy", "training_seed", "seed", "cost", "low", "high", "episodes", "difference")
    return Results(path, rows, names, True, True, paired, intervals, counts, failures)


def _number(text: Any) -> float:
    """Return a number, NaN for anything else."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _of_table(path: str, header: Sequence[str], lines: Iterator[tuple[int, list[str]]], wanted: Mapping[str, str]) -> Results:
    """Return the results of a table with a header."""
    places = _places(path, header, wanted)
    sign = 1.0 if "cost" in places else -1.0
    value = places["cost" if "cost" in places else "reward"]
    rows, extra = [], []
    for line, cells in lines:
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {line}: {len(cells)} values, and {len(header)} columns")
        text = {name: cells[at].strip() for name, at in places.items()}
        broken = text.get("status", "").lower() not in _FINE
        if math.isnan(_number(cells[value])) and cells[value].strip().lower() not in _NO_NUMBER:
            raise ValueError(f"{path}, line {line}, column {header[value]}: {shown(cells[value])} is not a number")
        named = {name: text.get(name, "") for name in _NAMED}
        rows.append(Row(**named, cost=math.nan if broken else sign * _number(cells[value])))
        extra.append({name: _number(text[name]) for name in ("low", "high", "episodes") if name in text})
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    summary = len({row.entrant for row in rows}) == len(rows) and "episode" not in places
    used = ", ".join(f"{name} = {header[at]}" for name, at in places.items())
    notes = (f"Columns: {used}.", *(("Costs are minus the rewards.",) if sign < 0.0 else ()))
    return Results(
        path,
        tuple(rows),
        tuple(places),
        summary,
        paired="difference" in places,
        intervals=all(math.isfinite(row.get("low", math.nan)) and math.isfinite(row.get("high", math.nan)) for row in extra),
        counts=tuple(row["episodes"] for row in extra) if "episodes" in places else (),
        notes=notes,
    )


def _places(path: str, header: Sequence[str], wanted: Mapping[str, str]) -> dict[str, int]:
    """Return the place of each known column of a table.

    Raises:
        ValueError: A column that is named is missing, or there is no column of policies or of costs.
    """
    words = [name.strip().lower().replace(" ", "_") for name in header]
    found: dict[str, int] = {}
    for name, usual in COLUMNS.items():
        if name in wanted:
            if wanted[name] not in header:
                raise ValueError(f"{path} has no column {shown(wanted[name])}{nearest(wanted[name], header)}")
            found[name] = list(header).index(wanted[name])
        elif matching := [words.index(word) for word in usual if word in words]:
            found[name] = matching[0]
    taken = {at for name, at in found.items() if name in wanted}
    found = {name: at for name, at in found.items() if name in wanted or at not in taken}
    listed = ", ".join(map(str, header[:12]))
    if "policy" not in found:
        raise ValueError(f"{path} has no column of policies; name it by --columns policy=NAME (columns: {listed})")
    if "cost" not in found and "reward" not in found:
        raise ValueError(f"{path} has no column of costs; name it by --columns cost=NAME or reward=NAME (columns: {listed})")
    return found
