"""Print the Markdown tables of the README's section on speed to standard output.

The measurements come from a new run or from a file:

    python benchmarks/speed.py                 run all measurements (minutes), as `hyperexec bench --full`
    python benchmarks/speed.py bench.json      read the measurements of `hyperexec bench --full --json bench.json`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hyperexec_env.training.bench import measure


def number(value: float) -> str:
    """Format a number with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def line(row: dict[str, Any]) -> str:
    """Format one measurement as a table row."""
    goal = "" if row["goal"] is None else f"{'at least' if row['better'] == 'higher' else 'at most'} {row['goal']:g}"
    mark = {True: "reached", False: "missed", None: ""}[row["reached"]]
    reference = f"{number(row['reference'])} ({row['against']})"
    return f"| {row['name']} | {number(row['rate'])} {row['unit']} | {reference} | {row['ratio']:.2f} | {goal} | {mark} |"


def tables(numbers: dict[str, Any]) -> str:
    """Format the JSON output of `hyperexec bench` as Markdown tables."""
    lines = [
        "| what | here | reference | ratio | goal | |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(line, numbers["rows"]),
    ]
    lines += [f"\n{text}" for text in numbers["left_out"]]
    if numbers["profile"]:
        lines += ["", "| where the time of a training by PPO goes | % |", "| --- | --- |"]
        lines += [f"| {part} | {share:.1f} |" for part, share in numbers["profile"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    stored = sys.argv[1:]
    print(tables(json.loads(Path(stored[0]).read_text()) if stored else measure(full=True).to_dict()))
