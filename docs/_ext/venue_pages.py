"""The pages of orders over venues: one order drawn with its fills by venue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kind_pages import Kind, draw_order, interval

import hyperexec_env as hx
from hyperexec_env.baselines.venue_policies import venue_policy


def picture(scenario: hx.VenueScenario, path: Path) -> None:
    """Write the picture of an order under the optimum."""
    policy = venue_policy("optimum")

    def act(env: Any) -> Any:
        return env.trade(policy.act(env.situation))

    draw_order(hx.make(scenario, render_mode="rgb_array").unwrapped, act, 1, path)


KIND = Kind(
    picture=picture,
    ending="png",
    caption="One order under the optimum: what each venue filled in each slice, the shares that are left, and what they cost.",
    columns={
        "J [95 %]": lambda row: interval(row.objective_bps, row.objective_low, row.objective_high),
        "gap % [95 %]": lambda row: interval(row.gap_percent, row.gap_low, row.gap_high, "z.2f"),
        "J - dark-first [95 %]": lambda row: interval(
            row.diff_to_dark_first_bps, row.diff_to_dark_first_low, row.diff_to_dark_first_high, "+.2f"
        ),
        "fees": lambda row: f"{row.components_bps['fees']:z.3f}",
        "adverse": lambda row: f"{row.components_bps['adverse']:z.3f}",
        "filled by venue, %": lambda row: ", ".join(f"{name} {share:.1f}" for name, share in row.filled_percent.items()),
    },
    unit="Bps of the arrival notional",
    explanation="venues",
)
