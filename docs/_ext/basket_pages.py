"""The page of a basket: its orders, its best schedule, the computed objectives, a board, the certificate, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scenario_pages import FENCE, drawn, objectives

import hyperexec_env as hx
from hyperexec_env.baselines.basket_card import basket_card
from hyperexec_env.market.basket_path import build_basket

EPISODES = 500
"""Episodes of the board of a page."""
CAPTION = """Left: remaining fraction of each order under the best fixed schedule (buys solid, sells dashed) and under TWAP.
Right: correlation of the price moves, each in the direction of its order; a blue cell is a hedge."""


def page(given: str | hx.BasketScenario, folder: Path) -> str:
    """Return the page of a basket, and write its picture to a folder."""
    basket = hx.get_basket(given)
    name, solution, board = basket.name, hx.solve(basket), hx.evaluate(basket, episodes=EPISODES)
    with drawn(folder / f"{name}.svg") as (left, right):
        draw_schedule(left, basket, solution)
        draw_correlation(right, basket)
    parameters, _, _ = str(basket_card(basket)).partition("\n  objective")
    text = [f"# {name}", f"{basket.description[0].upper()}{basket.description[1:]}.", f"![{name}]({name}.svg)", CAPTION]
    text += ["## Objectives, computed", block("bash", f"hyperexec solve {name}"), objectives(solution)]
    text += ["## Board", block("bash", f"hyperexec evaluate --scenario {name} --episodes {EPISODES} --seed 0"), table(board)]
    text += ["## Certificate", block("bash", f"hyperexec certify {name}"), block("text", str(hx.certify_basket(basket)))]
    text += ["## Card", block("bash", f"hyperexec card {name}"), block("text", parameters.rstrip())]
    text += ["[](../../../explanation/baskets.md) states the model and its limits."]
    return "\n\n".join([*text, ""])


def block(language: str, text: str) -> str:
    """Return a block of code."""
    return f"{FENCE}{language}\n{text}\n{FENCE}"


def table(board: Any) -> str:
    """Return the rows of a board, best first."""
    lines = ["| policy | J [95 %] | gap % [95 %] | J - TWAP [95 %] | IS | sd of IS |", "| --- | --- | --- | --- | --- | --- |"]
    for row in board.rows:
        cells = [
            f"{row.policy}{' *' if row.sanity else ''}",
            f"{row.objective_bps:.2f} [{row.objective_low:.2f}, {row.objective_high:.2f}]",
            f"{row.gap_percent:.2f} [{row.gap_percent_low:.2f}, {row.gap_percent_high:.2f}]",
            f"{row.diff_to_twap_bps:+.2f} [{row.diff_to_twap_low:+.2f}, {row.diff_to_twap_high:+.2f}]",
            f"{row.is_bps:.1f}",
            f"{row.is_sd_bps:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    episodes = f"{board.episodes:,} episodes of seed {board.seed}, the same for every policy"
    note = f"Bps of the arrival notional of all orders; {episodes}; `*` marks sanity policies, which must lose."
    return "\n".join([*lines, "", note])


def draw_schedule(axes: Any, basket: Any, solution: Any) -> None:
    """Draw the remaining fraction of each order under the best fixed schedule, and under TWAP."""
    first = basket.assets[0]
    times = np.linspace(first.start_minute, first.start_minute + first.horizon_minutes, first.slices + 1)
    left = 1.0 - np.vstack([np.zeros(len(basket.assets)), np.cumsum(solution.schedule, axis=0)])
    for number, asset in enumerate(basket.assets):
        axes.plot(times, left[:, number], lw=1.0, ls="-" if asset.side > 0 else "--", label=asset.name)
    axes.plot(times, np.linspace(1.0, 0.0, len(times)), color="0.7", lw=2.5, label="TWAP", zorder=0)
    axes.set(xlabel="minutes after the open", ylabel="remaining, fraction", title="best fixed schedule")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")


def draw_correlation(axes: Any, basket: Any) -> None:
    """Draw the correlation of the price moves in the directions of the orders."""
    names = list(basket.symbols)
    picture = axes.imshow(np.array(build_basket(basket).coupling.correlation), vmin=-1.0, vmax=1.0, cmap="RdBu_r")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title("correlation, signed by the orders")
    axes.figure.colorbar(picture, ax=axes)
