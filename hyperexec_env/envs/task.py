"""The task of an agent: the market it meets, what it sees, what it may do and what it is paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hyperexec_env.checks import check_choice, check_flag, check_numbers, nearest
from hyperexec_env.envs.action import ActionMode, build_action_mode
from hyperexec_env.envs.observation import Observer, build_observer
from hyperexec_env.market.kernel import expected_cost, realised_cost
from hyperexec_env.market.model import Market, build_market
from hyperexec_env.market.path import OrderDraw
from hyperexec_env.market.scenario import Scenario, get_scenario

__all__ = ["REWARDS", "Task", "build_task", "check_reset_options"]

OPTIONS: Final = (
    *("scenario", "action_mode", "reward", "observe_regime", "random_side", "quantity_range", "render_mode"),
    *("num_envs", "autoreset_mode", "backend", "num_threads", "copy"),
)
"""Names of the options of the environments; the last five are the vector environment's."""
REWARDS: Final = ("expected", "realised")
"""Names of the rewards."""


@dataclass(frozen=True, eq=False)
class Task:
    """What the single and the vector environment have in common, computed once."""

    market: Market
    mode: ActionMode
    observer: Observer
    realised: bool
    """Whether the reward holds the price noise and the permanent cost."""
    draw: OrderDraw
    paid: Callable[[Any], Any]
    """What a cost (a record, or a plain tuple) takes off the reward, in currency: the part of the slice."""

    @property
    def scenario(self) -> Scenario:
        """The scenario of the market."""
        return self.market.scenario


def build_task(
    scenario: Any = "regime-day",
    *,
    action_mode: str = "pace",
    reward: str = "expected",
    observe_regime: bool = True,
    random_side: bool = False,
    quantity_range: Any = None,
    **unknown: Any,
) -> Task:
    """Check the options of the environment and compute what they mean.

    Raises:
        TypeError: An unknown option; the message names the nearest one.
        ValueError: A bad option; the message names it, its value and the range.
    """
    for key in unknown:
        raise TypeError(f"unknown option {key!r}{nearest(key, OPTIONS)} (known: {', '.join(OPTIONS)})")
    check_choice("reward", reward, REWARDS)
    check_flag("observe_regime", observe_regime)
    check_flag("random_side", random_side)
    sizes = None
    if quantity_range is not None:
        low, high = check_numbers("quantity_range", quantity_range, low=1e-6, high=1e6, length=2)
        if low > high:
            raise ValueError(f"quantity_range must be (smallest, largest) multiple of the quantity, got ({low:g}, {high:g})")
        sizes = (low, high)
    market = build_market(get_scenario(scenario))
    return Task(
        market=market,
        mode=build_action_mode(action_mode, market),
        observer=build_observer(market, observe_regime),
        realised=reward == "realised",
        draw=OrderDraw(random_side, sizes),
        paid=realised_cost if reward == "realised" else expected_cost,
    )


def check_reset_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the options of a reset.

    Raises:
        ValueError: An unknown option; the message names the nearest one.
    """
    for key in options or {}:
        if key not in known:
            raise ValueError(f"unknown reset option {key!r}{nearest(key, known)} (known: {', '.join(known)})")
    return options or {}
