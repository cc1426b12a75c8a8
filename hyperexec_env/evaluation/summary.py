"""Summary of several boards in one table: the optimality gap of each policy on each scenario."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hyperexec_env.evaluation.board import Board
from hyperexec_env.evaluation.statistics import interquartile_mean

__all__ = ["summary"]


def summary(boards: Sequence[Board]) -> tuple[list[str], list[list[str]], str]:
    """Return the header, the cells and the caption of a table with one line per board.

    The gaps of the best fixed schedule and of the best policy that observes the regime one slice late are computed. The gaps
    of policies are measured, paired with the optimal policy on the same episodes; a policy with several training seeds shows
    the interquartile mean.
    """
    names = list(dict.fromkeys(row.policy for board in boards for row in board.rows if not (row.optimum or row.sanity)))
    order = {row.policy: row.training_seed is not None for board in boards for row in board.rows}
    names.sort(key=lambda name: order[name])  # trained policies last
    header = ["", "scenario", "J* [bps]", "error", "one slice late %", "best schedule %", *(f"{name} %" for name in names)]
    cells = [["", board.scenario.name, *_values(board, names)] for board in boards]
    caption = (
        "Gaps in % of J*. One slice late: the best policy that observes each regime one slice late; its gap and the gap of the "
        "best fixed schedule are computed, like J*. The gaps of policies are measured, paired with the optimal policy on the "
        "same episodes; several training seeds show their interquartile mean. Where a scenario is not solved exactly, a lower "
        "bound (>=) replaces J*, and gaps are upper bounds (<=)."
    )
    return header, cells, caption


def _values(board: Board, names: Sequence[str]) -> list[str]:
    """Return the cells of a board: J*, its error, the computed gaps, and the measured gap of each policy."""
    known = board.optimum
    if known is None:
        return ["-"] * (4 + len(names))
    solved = known.optimum_bps is not None
    best = known.optimum_bps if solved else known.bound_bps
    if best is None:
        return ["-"] * (4 + len(names))

    def gap(value: float | None) -> str:
        if value is None or not best:
            return "-"
        percent = round(100.0 * (value - best) / abs(best), 1) + 0.0  # never -0.0
        return f"{'' if solved else '<='}{percent:.1f}"

    def measured(name: str) -> str:
        rows = [row for row in board.rows if row.policy == name]
        if not rows:
            return "-"
        gaps = np.array([best + row.gap_bps if row.gap_bps is not None else row.objective_bps for row in rows])
        return gap(float(interquartile_mean(gaps)))

    error = "-" if not solved else f"{known.relative_error:.0e}" if known.relative_error else "exact"
    return [
        f"{'' if solved else '>='}{best:.3f}",
        error,
        gap(known.regime_blind_bps),
        gap(known.open_loop_bps),
        *(measured(name) for name in names),
    ]
