"""The adapter of HyperExecTouch-v0. The trades of an audit take lots; shares are lots, and costs half-spreads per lot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hyperexec_env.audit.adapter import Adapter
from hyperexec_env.envs.touch import HyperExecTouchEnv
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import NONE, RESTS, draw_step
from hyperexec_env.market.touch_scenario import TouchScenario

__all__ = ["another_outflow", "touch_adapter"]


def touch_adapter(make: Callable[[], Any], plain: HyperExecTouchEnv) -> Adapter:
    """Return the adapter of an environment of a child order at the touch.

    The environment has the expected account only, so no check compares the cash of its fills with a shortfall. Costs leave out
    the risk: whole lots round the steady pace, so that it trades later than bursts, and risk would pay for them.
    """
    task = plain.task
    scenario = task.market.scenario
    return Adapter(
        make=make,
        slices=lambda env: env.unwrapped.task.market.scenario.steps,
        action=_action,
        remaining=lambda env: env.unwrapped.lane.left,
        cost=lambda env, info: info["objective"] - info["costs"]["risk"],
        unit="half-spreads per lot",
        account=lambda env, info: -float(info["objective"]),
        price=lambda env: scenario.arrival_price + scenario.tick * env.unwrapped.lane.ticks,
        arrival_price=lambda env: scenario.arrival_price,
        fill=_fill,
        sliced=lambda steps: type(plain)(scenario=in_steps(scenario, steps), action_mode=task.action_mode),
        perturb_future=lambda env, k: env.unwrapped.begin_on(another_outflow(env.unwrapped.task.market, k))[0],
    )


def _action(env: Any, shares: float) -> Any:
    """Return the action that takes a number of lots, rounded, and rests nowhere."""
    task = env.unwrapped.task
    take = min(int(shares + 0.5), task.takes - 1)
    return take * len(RESTS) + NONE if task.flat else np.array([take, NONE])


def _fill(env: Any, info: Mapping[str, Any]) -> tuple[float, float]:
    """Return the lots of the last step and their average price, fees included."""
    plain = env.unwrapped
    scenario, (before, after) = plain.task.market.scenario, plain.lanes[-2:]
    mid = scenario.arrival_price + scenario.tick * before.ticks
    taken, filled = after.taken - before.taken, after.filled
    took = taken * (mid + scenario.half_spread + scenario.take_fee + scenario.impact * taken)
    rested = filled * (mid - scenario.half_spread - scenario.make_rebate)
    lots = taken + filled
    return lots, (took + rested) / lots if lots else 0.0


def in_steps(scenario: TouchScenario, steps: int) -> TouchScenario:
    """Return the same order and market in another number of steps: rates per second stay."""
    ratio = scenario.steps / steps
    moves = {
        name: min(1.0 - (1.0 - getattr(scenario, name)) ** ratio, 0.5) for name in ("move_probability", "sweep_probability")
    }
    return replace(
        scenario, step_seconds=scenario.horizon_seconds / steps, outflow=min(scenario.outflow * ratio, 200.0), **moves
    )


def another_outflow(market: Any, k: int) -> Callable[[tuple[list[float], list[float]]], tuple[list[float], list[float]]]:
    """Return the change of the draws of an episode after which nature draws differently from step `k` on."""

    def changed(draws: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
        other = draw_step(market, episode_keys(987_654_321, [k % 2**31]), np.arange(len(draws[0])))
        outflow, moved = ([*own[:k], *drawn[k:].tolist()] for own, drawn in zip(draws, other, strict=True))
        return outflow, moved

    return changed
