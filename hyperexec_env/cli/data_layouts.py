"""List the layouts of data that are recognised: bars, trades, quotes and messages of vendors.

Data of other layouts are read by the usual names of their columns. --layout NAME chooses a layout, and
--columns ts=Time,close=Last names columns, wherever data are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.data.layouts import FIELDS, LAYOUTS, Layout
from hyperexec_env.evaluation.board import text_table

ORDER = 12.5


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec data layouts``."""

    kind: str = option("", "kind of data (default: all)", choices=tuple(FIELDS))


def main(args: Args) -> Report:
    """Return a table with one line per layout."""
    layouts = [layout for layout in LAYOUTS if args.kind in ("", layout.kind)]
    header = ["layout", "recognised by", "kind", "zone", "stamp"]
    cells = [[layout.name, recognised_by(layout), layout.kind, layout.zone or "exchange", _stamp(layout)] for layout in layouts]
    plain = [
        {
            "layout": layout.name,
            "kind": layout.kind,
            "recognised_by": recognised_by(layout),
            "zone": layout.zone,
            "stamp": layout.stamp,
            "note": layout.note,
        }
        for layout in layouts
    ]
    notes = [f"{layout.name}: {layout.note}" for layout in layouts if layout.note]
    lines = [
        text_table(header, cells),
        "",
        "zone: of stamps without an offset; stamp: the time of a bar is its start or its end",
    ]
    return Report("\n".join([*lines, *dict.fromkeys(notes)]), plain)


def recognised_by(layout: Layout) -> str:
    """Return how a layout is recognised: signs of its header, or kinds of the values of its columns in order."""
    if layout.needs:
        return ", ".join(sorted(layout.needs))
    runs = [(kind, len(list(group))) for kind, group in groupby(layout.shape)]
    values = ", ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in runs)
    return f"no header: {values}"


def _stamp(layout: Layout) -> str:
    """Return whether the time of a bar is its start or its end, for the table."""
    return layout.stamp or ("determined" if layout.kind == "bars" else "")
