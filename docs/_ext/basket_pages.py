"""The pages of baskets: the best schedule of each order, and the correlations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from kind_pages import Kind, interval
from scenario_pages import drawn, minutes

import hyperexec_env as hx
from hyperexec_env.market.basket_path import build_basket


def picture(basket: hx.BasketScenario, path: Path) -> None:
    """Draw the best fixed schedule, and the correlations."""
    with drawn(path) as (left, right):
        draw_schedule(left, basket, hx.solve(basket))
        draw_correlation(right, basket)


def draw_schedule(axes: Any, basket: Any, solution: Any) -> None:
    """Draw the remaining fraction of each order under the best fixed schedule, and under TWAP."""
    times = minutes(basket.assets[0])
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


KIND = Kind(
    picture=picture,
    ending="svg",
    caption="""Left: remaining fraction of each order under the best fixed schedule (buys solid, sells dashed) and under TWAP.
Right: correlation of the price moves, each in the direction of its order; a blue cell is a hedge.""",
    columns={
        "J [95 %]": lambda row: interval(row.objective_bps, row.objective_low, row.objective_high),
        "gap % [95 %]": lambda row: interval(row.gap_percent, row.gap_percent_low, row.gap_percent_high),
        "J - TWAP [95 %]": lambda row: interval(row.diff_to_twap_bps, row.diff_to_twap_low, row.diff_to_twap_high, "+.2f"),
        "IS": lambda row: f"{row.is_bps:.1f}",
        "sd of IS": lambda row: f"{row.is_sd_bps:.1f}",
    },
    unit="Bps of the arrival notional of all orders",
    explanation="baskets",
    episodes=500,
)
