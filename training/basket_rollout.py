"""Differentiable rollouts of a basket in torch: :mod:`~.torch_rollout` with a leading asset axis.

Trades call :func:`hyperexec_env.market.basket.stacked_move` on tensors of shape (assets, episodes), and observations and
actions call :mod:`hyperexec_env.envs`. Numpy draws the correlated paths, which enter as constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from hyperexec_env.envs.basket_features import COMMON, DIFFERENT, pull_of, variance_left, whole_of
from hyperexec_env.envs.basket_task import BasketTask
from hyperexec_env.envs.features import OWN, own_features
from hyperexec_env.market.basket import Coupling, stacked_move, without_own
from hyperexec_env.market.kernel import Impact, Slice, expected_cost, shortfall_cost
from hyperexec_env.market.path import Path

from .torch_rollout import Outcome, lanes_of

__all__ = ["BasketMatrices", "Stack", "matrices_of", "roll_stack", "stack_of"]


class Stack(NamedTuple):
    """Drawn episodes of a basket as torch constants: one entry per slice, shape (assets, episodes) unless stated otherwise."""

    slices: tuple[Slice, ...]
    """The slices; fields that no episode changes have the shape (assets, 1)."""
    common: tuple[torch.Tensor, ...]
    """Features that all assets share, shape (episodes, common features)."""
    different: tuple[torch.Tensor, ...]
    """Features of the assets that do not depend on trades, shape (assets, episodes, features)."""
    drifted: tuple[torch.Tensor, ...]
    """Move of the unaffected prices against the orders since arrival, currency per share."""
    last_volume: tuple[torch.Tensor, ...]
    """Market volume of the previous slice, shares."""
    rest_volume: tuple[torch.Tensor, ...]
    """Expected market volume of the remaining slices, shares."""
    base: tuple[torch.Tensor, ...]
    """Fraction of the remaining shares that the action multiplies."""


class BasketMatrices(NamedTuple):
    """The numbers of a basket as tensors; columns have the shape (assets, 1), matrices (assets, assets)."""

    impact: Impact
    others: Coupling
    """The matrices without their diagonals."""
    correlation: torch.Tensor
    quantity: torch.Tensor
    """Shares of each order."""
    price: torch.Tensor
    """Arrival price, currency per share."""
    deviation: torch.Tensor
    """Daily standard deviation of the price, currency per share."""
    reach: torch.Tensor
    """Largest transient displacement that all orders can cause, currency per share; 1 without transient impact."""
    by_move: torch.Tensor
    """One over the standard deviation of the unaffected price over the whole order, shares per currency."""
    plan: tuple[torch.Tensor, ...]
    """Remaining fraction of each order in the expected-volume schedule, one column per slice."""


def stack_of(task: BasketTask, paths: Sequence[Path], dtype: torch.dtype, device: str = "cpu") -> Stack:
    """Convert drawn paths of all assets into torch constants.

    Args:
        task: The task of the basket.
        paths: The paths, from :func:`~hyperexec_env.market.basket_path.draw_basket_path`.
        dtype: Precision of the tensors, float32 or float64.
        device: Device of the tensors.
    """
    assets = [lanes_of(one.observer, one.mode, path, dtype, device) for one, path in zip(task.assets, paths, strict=True)]
    slices = range(task.market.slices)
    exogenous = [torch.stack([lanes.exogenous[k] for lanes in assets]) for k in slices]

    def stacked(name: str) -> tuple[torch.Tensor, ...]:
        return tuple(torch.stack([getattr(lanes, name)[k] for lanes in assets]) for k in slices)

    def field(k: int, name: str) -> torch.Tensor:
        values = [torch.as_tensor(getattr(lanes.slices[k], name), dtype=dtype, device=device) for lanes in assets]
        flat = [value.reshape(-1) for value in values]
        return torch.stack(torch.broadcast_tensors(*flat))  # type: ignore[no-untyped-call]

    return Stack(
        tuple(Slice(*(field(k, name) for name in Slice._fields)) for k in slices),
        tuple(values[0][:, [column - OWN for column in COMMON]] for values in exogenous),
        tuple(values[:, :, [column - OWN for column in DIFFERENT]] for values in exogenous),
        *(stacked(name) for name in ("drifted", "last_volume", "rest_volume", "base")),
    )


def matrices_of(task: BasketTask, dtype: torch.dtype, device: str = "cpu") -> BasketMatrices:
    """Return the numbers of a basket as tensors."""
    market, sight = task.market, task.sight

    def tensor(values: Any) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    def column(values: Sequence[Any]) -> torch.Tensor:
        return tensor([float(value) for value in values])[:, None]

    others: list[Any] = [tensor(without_own(rows)) for rows in market.coupling]
    fields = {name: [getattr(impact, name) for impact in market.impacts] for name in Impact._fields}
    impact: dict[str, Any] = {
        name: float(values[0]) if len({*values}) == 1 else column(values) for name, values in fields.items()
    }
    quantities = [asset.quantity for asset in market.scenario.assets]
    scales = [asset.observer.sight.scales for asset in task.assets]
    reach = [
        far / each.transient if each.transient else 1.0
        for far, each in zip(whole_of(sight, quantities).reach, scales, strict=True)
    ]
    return BasketMatrices(
        impact=Impact(**impact),
        others=Coupling(*others),
        correlation=tensor(sight.correlation),
        quantity=column(quantities),
        price=column(sight.prices),
        deviation=column(sight.deviations),
        reach=column(reach),
        by_move=column([each.move for each in scales]),
        plan=tuple(column([asset.market.plan[k] for asset in task.assets]) for k in range(market.slices)),
    )


def roll_stack(
    task: BasketTask,
    matrices: BasketMatrices,
    stack: Stack,
    act: Callable[[torch.Tensor], torch.Tensor],
    shortfall: bool = True,
) -> Outcome:
    """Run a policy over whole episodes; the costs are differentiable in the policy's parameters.

    Args:
        task: The task of the basket, with the action mode `pace` and an observed regime.
        matrices: Its numbers, of the precision of `stack`.
        stack: The episodes.
        act: The policy: the block of the basket and the block of an asset side by side, shape (assets, episodes, features),
            -> actions of shape (assets, episodes).
        shortfall: Whether to compute the realised shortfall (zero otherwise).

    Returns:
        Costs in bps of the arrival notional of all orders.
    """
    zero = torch.zeros_like(stack.drifted[0])
    state: tuple[Any, Any, Any] = (zero + matrices.quantity, zero, zero)
    last_shares, expected, realised = zero, zero[0], zero[0]
    shares = task.assets[0].mode.shares
    for k, slice in enumerate(stack.slices):
        before = state[0]
        action = act(_observe(matrices, stack, k, state, last_shares))
        asked = shares(action, before, stack.base[k])
        state, cost = stacked_move(matrices.impact, matrices.others, state, slice, asked)
        last_shares = before - state[0]
        expected = expected + expected_cost(cost).sum(0)
        realised = realised + shortfall_cost(cost).sum(0) if shortfall else realised
    bps = 1e4 / task.market.scenario.notional
    return Outcome(expected * bps, realised * bps)


def _observe(numbers: BasketMatrices, stack: Stack, k: int, state: tuple[Any, Any, Any], last_shares: Any) -> torch.Tensor:
    """Return the observations of slice `k`, shape (assets, episodes, features of the basket and of one asset)."""
    left, first = state[0], numbers.deviation * numbers.quantity
    moves = numbers.deviation * left
    exposed = numbers.correlation @ moves
    variance, total = (moves * exposed).sum(0), (first * (numbers.correlation @ first)).sum(0)
    held = variance > 0.0
    value = (numbers.price * left).sum(0) / (numbers.price * numbers.quantity).sum(0)
    pull = pull_of(exposed, held, variance.masked_fill(~held, 1.0) ** 0.5)
    basket = torch.cat([torch.stack([value, variance_left(variance, total)], dim=1), stack.common[k]], dim=1)
    known = stack.drifted[k], numbers.plan[k], stack.rest_volume[k]
    own = own_features((1.0, numbers.by_move), numbers.quantity, numbers.reach, state, last_shares, stack.last_volume[k], known)
    asset = torch.stack([*own, pull], dim=2)
    return torch.cat([basket.expand(len(left), -1, -1), asset, stack.different[k]], dim=2)
