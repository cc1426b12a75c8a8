"""Print the tables of the README's section on speed, in Markdown.

    python benchmarks/speed.py                 measures everything (minutes), as `hyperexec bench --full` does
    python benchmarks/speed.py bench.json      prints the numbers that `hyperexec bench --full --json bench.json` wrote

Paste the standard output into the README.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hyperexec_env.training.bench import measure


def number(value: float) -> str:
    """Return a number with three significant digits, without decimals from 100 on."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    goal = "" if row["goal"] is None else f"{'at least' if row['better'] == 'higher' else 'at most'} {row['goal']:g}"
    mark = {True: "reached", False: "missed", None: ""}[row["reached"]]
    reference = f"{number(row['reference'])} ({row['against']})"
    return f"| {row['name']} | {number(row['rate'])} {row['unit']} | {reference} | {row['ratio']:.2f} | {goal} | {mark} |"


def tables(numbers: dict[str, Any]) -> str:
    """Return the tables of a benchmark from the numbers of its `--json`."""
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
