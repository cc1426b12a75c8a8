"""The task of an agent that executes a basket: the tasks of its assets, the action space and the reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.action import ACTION_MODES, PACES
from hyperexec_env.envs.basket_features import BasketSight, basket_names, basket_sight, basket_space
from hyperexec_env.envs.reward import Reward
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import Task, final_info, log_warnings, order_draw, refuse_unknown, task_of
from hyperexec_env.market.account import Statement
from hyperexec_env.market.basket_path import BasketMarket, build_basket
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.market.lane import Settled
from hyperexec_env.market.path import OrderDraw, draw_orders
from hyperexec_env.orders import Order
from hyperexec_env.records import is_record, plus

__all__ = [
    "BASKET_ACTION_MODES",
    "BasketTask",
    "basket_info",
    "build_basket_task",
    "notional_of",
    "stacked_situation",
    "total_settled",
    "total_statement",
]

_DIAL: Final = "dial"
BASKET_ACTION_MODES: Final = (*ACTION_MODES, _DIAL)
"""Names of the action modes of a basket: those of one asset, and one pace for all assets."""
OPTIONS: Final = (
    *("scenario", "action_mode", "reward", "observe_regime", "random_side", "quantity_range", "render_mode", "info"),
)
"""Names of the options of the environments of baskets."""


@dataclass(frozen=True, eq=False)
class BasketTask:
    """What the single and the vector environment of a basket share, computed once by :func:`build_basket_task`."""

    market: BasketMarket
    assets: tuple[Task, ...]
    """The task of each asset alone: its action mode, observer and reward."""
    space: spaces.Space[Any]
    """Action space of one episode."""
    action_mode: str
    """One of :data:`BASKET_ACTION_MODES`."""
    draw: OrderDraw
    """How orders vary between episodes: all sides are turned around together, all quantities have one factor."""
    sight: BasketSight

    @property
    def reward(self) -> Reward:
        """The kind of the reward."""
        return self.assets[0].reward

    @property
    def secret(self) -> bool:
        """Whether the costs of a running episode would reveal the regime, which the agent does not observe."""
        return self.assets[0].secret

    @property
    def hidden(self) -> bool:
        """Whether the regime is not observed."""
        return self.assets[0].observer.hidden

    @property
    def discrete(self) -> bool:
        """Whether actions are the indices of levels."""
        return self.assets[0].mode.discrete

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an action."""
        shape: tuple[int, ...] = self.space.shape  # type: ignore[assignment]
        return shape

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return basket_names(len(self.assets))

    @cached_property
    def observation_space(self) -> spaces.Box:
        """The observation space of one episode."""
        return basket_space(len(self.assets))

    def orders(self, keys: Any) -> tuple[list[Order], Any]:
        """Return the order of each asset in the episodes with some keys, and the factor +1 or -1 of all sides.

        A drawn factor of the quantities and a drawn side are those of a single order with the same keys.
        """
        markets, sides = self.market.markets, self.market.sides
        drawn = [draw_orders(market, keys, self.draw) for market in markets]
        flip = drawn[0].side * sides[0]
        return [Order(side * flip, order.quantity) for side, order in zip(sides, drawn, strict=True)], flip

    def checked(self, given: Any, lanes: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return actions as an array of shape (*lanes, assets), clipped to the bounds.

        Raises:
            ValueError: The shape, the type or a value is wrong; the message names what is expected.
        """
        actions, shape = np.asarray(given), (*lanes, *self.shape)
        if actions.shape != shape:
            raise ValueError(f"action must be an array of shape {shape}, got shape {actions.shape}")
        if self.discrete:
            if actions.dtype.kind not in "iu" or not ((actions >= 0) & (actions < len(PACES))).all():
                raise ValueError(f"action must be whole numbers in [0, {len(PACES) - 1}], got {given!r}")
            return actions.astype(np.int64)
        if actions.dtype.kind not in "fiub":
            raise ValueError(f"action must be numbers in [-1, 1], got an array of {actions.dtype}")
        actions = actions.astype(np.float64)
        if np.isnan(actions).any():
            raise ValueError(f"action must be numbers in [-1, 1], got {given!r}")
        return np.broadcast_to(np.clip(actions, -1.0, 1.0), (*lanes, len(self.assets)))


def build_basket_task(
    scenario: Any = None,
    *,
    action_mode: str = "pace",
    reward: str = "expected",
    observe_regime: bool = True,
    random_side: bool = False,
    quantity_range: Any = None,
    **unknown: Any,
) -> BasketTask:
    """Check the options of the environment, which `HyperExecBasketEnv` documents, and return its task.

    Raises:
        TypeError: An unknown option; the message names the nearest one.
        ValueError: A bad option; the message names it, its value and the range.
    """
    refuse_unknown(unknown, OPTIONS)
    check_choice("action_mode", action_mode, BASKET_ACTION_MODES)
    draw = order_draw(reward, observe_regime, random_side, quantity_range)
    basket = get_basket("basket-hedged" if scenario is None else scenario)
    log_warnings(basket.warnings)
    market = build_basket(basket)
    mode = "pace" if action_mode == _DIAL else action_mode
    assets = tuple(task_of(each, mode, reward, observe_regime) for each in market.markets)
    return BasketTask(market, assets, _space(action_mode, len(assets)), action_mode, draw, basket_sight(market))


def _space(action_mode: str, assets: int) -> spaces.Space[Any]:
    """Return the action space of a basket."""
    if action_mode == "discrete":
        return spaces.MultiDiscrete([len(PACES)] * assets)
    return spaces.Box(-1.0, 1.0, (1 if action_mode == _DIAL else assets,), np.float32)


def notional_of(market: BasketMarket, quantities: Any) -> Any:
    """Return the arrival notional of orders, sum of X P0, currency; `quantities` is a list over assets."""
    return _sum([quantity * asset.arrival_price for quantity, asset in zip(quantities, market.scenario.assets, strict=True)])


def _sum(values: Any) -> Any:
    """Return the sum of values, added from left to right."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def total_statement(statements: Sequence[Statement]) -> Statement:
    """Return the sum of statements in bps of one notional, added from left to right."""
    return reduce(_plus, statements)


def _plus(a: Statement, b: Statement) -> Statement:
    """Return the sum of two statements."""
    return Statement(*(plus(x, y) if is_record(x) else x + y for x, y in zip(a, b, strict=True)))


def total_settled(market: BasketMarket, settled: Sequence[Settled], notional: Any) -> Settled:
    """Return the result of a basket, with the side and the quantity of asset 0.

    Args:
        market: The market.
        settled: The result of each asset, whose statement is in bps of the basket's notional.
        notional: Arrival notional of the basket, currency.
    """
    statement = total_statement([one.statement for one in settled])
    assets = zip(settled, market.scenario.assets, strict=True)
    values = [one.forced * one.quantity * asset.arrival_price for one, asset in assets]
    return Settled(statement, _sum(values) / notional, settled[0].side, settled[0].quantity)


def basket_info(task: BasketTask, settled: Sequence[Settled], total: Settled) -> dict[str, Any]:
    """Return the `info` of the result of an episode: of the basket, and of each asset; both in bps of the basket's notional.

    Args:
        task: The task.
        settled: The result of each asset, whose statement is in bps of the basket's notional.
        total: Their :func:`total_settled`.
    """
    whole = final_info(total)
    del whole["side"], whole["quantity"]
    return {**whole, "assets": dict(zip(task.market.scenario.symbols, map(final_info, settled), strict=True))}


def stacked_situation(market: BasketMarket, situations: Sequence[Situation]) -> Situation:
    """Return the situations of all assets with a leading asset axis; market, slice and regime are the basket's."""
    first, shape = situations[0], np.shape(situations[0].seen)
    columns = {}
    for name in Situation._fields:
        if name not in ("market", "k", "seen"):
            values = [getattr(one, name) for one in situations]
            columns[name] = made = np.empty((len(values), *shape), np.result_type(*values))
            for i, value in enumerate(values):
                made[i] = value
    return Situation(market=market, k=first.k, seen=first.seen, **columns)
