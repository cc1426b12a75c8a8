"""The optimal policy and TWAP side by side on a day that turns into a crisis, as a moving picture.

python docs/_ext/side_by_side.py docs/_static/side_by_side.gif
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import hyperexec_env as hx

SCENARIO = "regime-day"
LARGEST_TIMING = 10.0
"""Largest price noise of the picked day, bps of the arrival notional; its standard deviation is above 100."""


def picked(policies: list[Any]) -> int:
    """Return the first seed whose day turns into a crisis, and whose price noise does not hide what the policies pay."""
    for seed in range(100_000):
        if turns_into_crisis(seed) and all(abs(timing(policy, seed)) < LARGEST_TIMING for policy in policies):
            return seed
    raise ValueError("no such day")


def turns_into_crisis(seed: int) -> bool:
    """Return whether a day is calm for its first third and in a crisis for most of the second."""
    crisis = hx.get_scenario(SCENARIO).regimes.names.index("CRISIS")
    env, seen = hx.make(SCENARIO).unwrapped, []
    env.reset(seed=seed)
    while len(seen) < 18:
        seen.append(int(env.situation.seen))
        env.trade(0.0)
    return crisis not in seen[:8] and seen[8:16].count(crisis) >= 6


def timing(policy: Any, seed: int) -> float:
    """Return what the price noise of a day adds to the shortfall of a policy, bps."""
    env, over, info = hx.make(SCENARIO).unwrapped, False, {}
    env.reset(seed=seed)
    while not over:
        _, _, over, _, info = env.trade(float(policy.act(env.situation)))
    return float(info["components_bps"]["timing"])


def frames(policy: Any, seed: int) -> list[Image.Image]:
    """Run a policy through one day, and return a picture of each slice with the cost so far."""
    env = hx.make(SCENARIO, render_mode="rgb_array").unwrapped
    env.reset(seed=seed)
    pictures, over = [], False
    while not over:
        over = env.trade(float(policy.act(env.situation)))[2]
        picture = Image.fromarray(np.asarray(env.render()))
        ImageDraw.Draw(picture).text((8, 4), policy.name, fill="black", font_size=18)
        pictures.append(picture)
    return pictures


def main(path: str) -> None:
    """Write the moving picture."""
    policies = [hx.solve(SCENARIO).policy, hx.get_policy("TWAP")]
    seed = picked(policies)
    optimum, twap = (frames(policy, seed) for policy in policies)
    length = max(len(optimum), len(twap))
    both = []
    for k in range(length):
        pair = [run[min(k, len(run) - 1)] for run in (optimum, twap)]
        sheet = Image.new("RGB", (sum(picture.width for picture in pair), pair[0].height), "white")
        sheet.paste(pair[0], (0, 0))
        sheet.paste(pair[1], (pair[0].width, 0))
        both.append(sheet.resize((sheet.width * 3 // 5, sheet.height * 3 // 5)).quantize(48))
    both[0].save(path, save_all=True, append_images=both[1:], duration=[350] * (length - 1) + [3000], loop=0)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "side_by_side.gif")
