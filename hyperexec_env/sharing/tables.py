"""The data set of a site: one table of rows, and one table of episodes for each board, as csv or parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.evaluation.board import Row
from hyperexec_env.evaluation.store import encode_outcome
from hyperexec_env.extras import MissingExtra, need
from hyperexec_env.sharing.site_content import Posted

__all__ = ["Column", "Table", "episodes_table", "rows_table"]


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: str
    """Type of the values: "text", "whole" or "number"."""
    meaning: str
    values: list[Any]


class Table(NamedTuple):
    """A table of the data set."""

    name: str
    """Path of its file below the site, without the end."""
    meaning: str
    columns: list[Column]

    def file(self) -> tuple[str, bytes]:
        """Return the path of the file and its content: parquet where pyarrow is installed, else csv."""
        try:
            arrow = need("pyarrow", "data")
        except MissingExtra:
            return f"{self.name}.csv", self.csv()
        return f"{self.name}.parquet", self._parquet(arrow)

    def csv(self) -> bytes:
        """Return the table as csv; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
        target = io.StringIO()
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows(zip(*([_plain(value) for value in column.values] for column in self.columns), strict=True))
        return target.getvalue().encode()

    def _parquet(self, arrow: Any) -> bytes:
        types = {"text": arrow.string(), "whole": arrow.int64(), "number": arrow.float64()}
        arrays = [arrow.array(column.values, types[column.kind]) for column in self.columns]
        target = io.BytesIO()
        need("pyarrow.parquet", "data").write_table(arrow.table(arrays, [column.name for column in self.columns]), target)
        return target.getvalue()


def _plain(value: Any) -> Any:
    """Return a value of a csv file; None is an empty text."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return repr(value) if isinstance(value, float) else value


_MEANINGS: Final = {
    "scenario": "name of the scenario",
    "scenario_hash": "hash of every value of the scenario that can change a result",
    "bundle": "SHA-256 of the bundle that holds the board",
    "board": "number of the board in its bundle, from 0",
    "policy": "name of the policy",
    "training_seed": "seed of the training; empty for a policy that was not trained",
    "authors": "authors of the policy, as they state",
    "kind": "classical, optimum, network, onnx or code",
    "verification": "whether a second computation gave the same bytes",
    "episodes": "number of episodes",
    "seed": "seed of the episodes",
    "episode": "index of the episode, the same market for every policy",
    "objective": "objective J of the episode, bps of the arrival notional",
    "shortfall": "implementation shortfall, bps of the arrival notional",
    "expected": "cost without the zero-mean price innovations, bps of the arrival notional",
    "risk": "risk term, bps of the arrival notional",
    "forced": "shares that the end of the order forced to trade, fraction of the order",
    "start_regime": "index of the regime of the first slice",
}


def rows_table(posted: Sequence[Posted]) -> Table:
    """Return one line for each row of each board."""
    entries = [(each, row) for each in posted for row in each.board.rows]

    def column(name: str, kind: str, values: list[Any]) -> Column:
        return Column(
            name, kind, _MEANINGS.get(name, f"{name.replace('_', ' ')}, as `hyperexec evaluate --json` defines it"), values
        )

    def kind_of(each: Posted, row: Row) -> str:
        found = each.submission(row)
        return "optimum" if row.optimum else "classical" if found is None else found.kind

    def authors(each: Posted, row: Row) -> str:
        found = each.submission(row)
        return "" if found is None else ", ".join(found.card.authors)

    columns = [
        column("scenario", "text", [each.board.plan.scenario.name for each, _ in entries]),
        column("scenario_hash", "text", [each.board.plan.scenario.hash for each, _ in entries]),
        column("bundle", "text", [each.bundle.sha256 for each, _ in entries]),
        column("board", "whole", [each.number for each, _ in entries]),
        column("episodes", "whole", [each.board.plan.episodes for each, _ in entries]),
        column("seed", "whole", [each.board.plan.seed for each, _ in entries]),
        column("kind", "text", [kind_of(each, row) for each, row in entries]),
        column("authors", "text", [authors(each, row) for each, row in entries]),
        column("verification", "text", [each.state for each, _ in entries]),
    ]
    kinds = {"str": "text", "int": "whole", "int | None": "whole", "bool": "whole", "float": "number", "float | None": "number"}
    for item in fields(Row):
        if str(item.type) in kinds:  # the components are in the table of episodes
            values = [getattr(row, item.name) for _, row in entries]
            columns.append(column(item.name, kinds[str(item.type)], [int(v) if isinstance(v, bool) else v for v in values]))
    return Table("data/rows", "One line for each policy on each board", columns)


def episodes_table(posted: Posted) -> Table:
    """Return one line for each policy and episode of a board."""
    rows, outcomes, episodes = posted.board.rows, posted.board.outcomes, posted.board.plan.episodes
    columns = [
        Column("policy", "text", _MEANINGS["policy"], [row.policy for row in rows for _ in range(episodes)]),
        Column(
            "training_seed", "whole", _MEANINGS["training_seed"], [row.training_seed for row in rows for _ in range(episodes)]
        ),
        Column("episode", "whole", _MEANINGS["episode"], [number for _ in rows for number in range(episodes)]),
    ]
    described, _ = encode_outcome(outcomes[0])
    raw = [dict(_arrays(outcome)) for outcome in outcomes]
    for name, dtype, shape in described:
        if list(shape) == [episodes]:
            values = np.concatenate([arrays[name] for arrays in raw]).tolist()
            meaning = _MEANINGS.get(name, f"{name} part of the shortfall, bps of the arrival notional")
            columns.append(Column(name, "whole" if dtype == "<i8" else "number", meaning, values))
    return Table(f"data/{posted.slug}", f"Every episode of every policy on {posted.board.plan.scenario.name}", columns)


def _arrays(outcome: Any) -> list[tuple[str, Any]]:
    """Return the arrays of an outcome by name."""
    described, raw = encode_outcome(outcome)
    found, start = [], 0
    for name, dtype, shape in described:
        size = 8 * int(np.prod(shape))
        found.append((name, np.frombuffer(raw[start : start + size], dtype).reshape(shape)))
        start += size
    return found
