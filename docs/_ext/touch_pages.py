"""The pages of child orders at the touch: one order drawn in its queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kind_pages import Kind, draw_order, interval

import hyperexec_env as hx
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.evaluation.touch_rollout import situation_at


def picture(scenario: hx.TouchScenario, path: Path) -> None:
    """Write the picture of an order under the optimum."""
    env, policy = hx.make(scenario, action_mode="discrete", render_mode="rgb_array").unwrapped, touch_policy("optimum")

    def act(env: Any) -> Any:
        return env.step(int(policy.act(situation_at(env.task.market, env.lane))))

    draw_order(env, act, 4, path)


KIND = Kind(
    picture=picture,
    ending="png",
    caption="One order under the optimum: its place in the queue in each step, the lots that are left, and what they cost.",
    columns={
        "J [95 %]": lambda row: interval(row.objective, row.objective_low, row.objective_high, ".4f"),
        "J, exact": lambda row: f"{row.exact:.4f}",
        "gap % [95 %]": lambda row: interval(row.gap_percent, row.gap_low, row.gap_high, "z.2f"),
        "taken %": lambda row: f"{row.taken_percent:.1f}",
        "forced %": lambda row: f"{row.forced_percent:.1f}",
    },
    unit="Half-spreads per lot of the order",
    explanation="touch",
)
