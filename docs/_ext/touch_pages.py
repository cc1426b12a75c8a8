"""The page of a child order at the touch: one order drawn, the computed objectives, a board, the certificate, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from basket_pages import block

import hyperexec_env as hx
from hyperexec_env.baselines.touch_card import touch_card
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.evaluation.touch_rollout import situation_at
from hyperexec_env.extras import need

EPISODES = 2000
"""Episodes of the board of a page."""
CAPTION = "One order under the optimum: its place in the queue in each step, the lots that are left, and what they cost."


def page(given: str | hx.TouchScenario, folder: Path) -> str:
    """Return the page of a touch scenario, and write its picture to a folder."""
    scenario = hx.get_touch(given)
    name, board = scenario.name, hx.evaluate_touch(scenario, episodes=EPISODES)
    picture(scenario, folder / f"{name}.png")
    parameters, _, _ = str(touch_card(scenario)).partition("\n  objective")
    text = [f"# {name}", f"{scenario.description[0].upper()}{scenario.description[1:]}.", f"![{name}]({name}.png)", CAPTION]
    text += ["## Objectives, computed", block("bash", f"hyperexec solve {name}"), block("text", str(hx.solve(scenario)))]
    text += ["## Board", block("bash", f"hyperexec evaluate --scenario {name} --episodes {EPISODES} --seed 0"), table(board)]
    text += ["## Certificate", block("bash", f"hyperexec certify {name}"), block("text", str(hx.certify_touch(scenario)))]
    text += ["## Card", block("bash", f"hyperexec card {name}"), block("text", parameters.rstrip())]
    text += ["[](../../../explanation/touch.md) states the model and its limits."]
    return "\n\n".join([*text, ""])


def picture(scenario: hx.TouchScenario, path: Path) -> None:
    """Write the picture of an order under the optimum."""
    env, policy = hx.make(scenario, action_mode="discrete", render_mode="rgb_array").unwrapped, touch_policy("optimum")
    env.reset(seed=4)
    over = False
    while not over:
        over = env.step(int(policy.act(situation_at(env.task.market, env.lane))))[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    need("PIL.Image", "plot").fromarray(env.render()).save(path)


def table(board: Any) -> str:
    """Return the rows of a board, best first."""
    lines = ["| policy | J [95 %] | J, exact | gap % [95 %] | taken % | forced % |", "| --- | --- | --- | --- | --- | --- |"]
    for row in board.rows:
        cells = [
            f"{row.policy}{' *' if row.sanity else ''}",
            f"{row.objective:.4f} [{row.objective_low:.4f}, {row.objective_high:.4f}]",
            f"{row.exact:.4f}",
            f"{row.gap_percent:z.2f} [{row.gap_low:z.2f}, {row.gap_high:z.2f}]",
            f"{row.taken_percent:.1f}",
            f"{row.forced_percent:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    episodes = f"{board.episodes:,} episodes of seed {board.seed}, the same for every policy"
    note = f"Half-spreads per lot of the order; {episodes}; `*` marks sanity policies, which must lose."
    return "\n".join([*lines, "", note])
