"""The page of a scenario that is not one order in one market: picture, computed objectives, a board, certificate, and card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hyperexec_env as hx
from hyperexec_env.extras import need
from hyperexec_env.market.scenarios import get_scenario

FENCE = "```"


@dataclass(frozen=True)
class Kind:
    """What the pages of one kind of scenario show."""

    picture: Callable[[Any, Path], None]
    """Write the picture of a scenario to a file."""
    ending: str
    """Ending of the picture's file."""
    caption: str
    columns: Mapping[str, Callable[[Any], str]]
    """Columns of the board after the policy: header, and the cell of a row."""
    unit: str
    """Unit of the board."""
    explanation: str
    """Page below `explanation` that states the model."""
    episodes: int = 2_000
    """Episodes of the board."""

    def page(self, given: Any, folder: Path) -> str:
        """Return the page of a scenario, and write its picture to a folder."""
        record = get_scenario(given)
        name, said, board = record.name, record.description, hx.evaluate(record, episodes=self.episodes)
        shown = folder / f"{name}.{self.ending}"
        shown.parent.mkdir(parents=True, exist_ok=True)
        self.picture(record, shown)
        parameters, _, _ = str(hx.card(record)).partition("\n  objective")
        text = [f"# {name}", f"{said[0].upper()}{said[1:]}.", f"![{name}]({shown.name})", self.caption]
        text += ["## Objectives, computed", block("bash", f"hyperexec solve {name}"), block("text", str(hx.solve(record)))]
        command = f"hyperexec evaluate --scenario {name} --episodes {self.episodes} --seed 0"
        text += ["## Board", block("bash", command), self.table(board)]
        text += ["## Certificate", block("bash", f"hyperexec certify {name}"), block("text", str(hx.certify(record)))]
        text += ["## Card", block("bash", f"hyperexec card {name}"), block("text", parameters.rstrip())]
        text += [f"[](../../../explanation/{self.explanation}.md) states the model and its limits."]
        return "\n\n".join([*text, ""])

    def table(self, board: Any) -> str:
        """Return the rows of a board, best first."""
        header = ["policy", *self.columns]
        cells = [[f"{row.policy}{' *' * row.sanity}", *(cell(row) for cell in self.columns.values())] for row in board.rows]
        lines = [f"| {' | '.join(each)} |" for each in (header, ["---"] * len(header), *cells)]
        episodes = f"{board.episodes:,} episodes of seed {board.seed}, the same for every policy"
        return "\n".join([*lines, "", f"{self.unit}; {episodes}; `*` marks sanity policies, which must lose."])


def block(language: str, text: str) -> str:
    """Return a block of code."""
    return f"{FENCE}{language}\n{text}\n{FENCE}"


def interval(mean: float, low: float, high: float, form: str = ".2f") -> str:
    """Return a number with its interval."""
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def draw_order(env: Any, act: Callable[[Any], Any], seed: int, path: Path) -> None:
    """Write the picture that an environment draws of one order, traded by a function of the environment."""
    env.reset(seed=seed)
    over = False
    while not over:
        over = act(env)[2]
    need("PIL.Image", "plot").fromarray(env.render()).save(path)
