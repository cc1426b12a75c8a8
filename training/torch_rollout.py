"""Differentiable rollouts in torch: market, observations and actions of the environment, with gradients.

The rollout reuses the environment's equations: trades call :func:`hyperexec_env.market.kernel.move` on tensors, and
observations and actions call :mod:`hyperexec_env.envs`. The market noise does not depend on the policy, so numpy draws it and
it enters as constants. The gradient of a cost is the derivative along each path (the pathwise estimator, Glasserman 2003,
section 7.2): exact for every episode, with a much lower variance than a likelihood-ratio estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hyperexec_env.envs.action import ActionMode
from hyperexec_env.envs.features import Observer, drawn_features, last_ratio, own_features, reach
from hyperexec_env.market.kernel import Impact, Slice, State, close, expected_cost, move, shortfall_cost
from hyperexec_env.market.path import Path, World

from .torch_beliefs import belief_features, laws_of, worlds_of

__all__ = ["Lanes", "Outcome", "Terms", "lanes_of", "roll", "roll_shares", "terms_of"]


class Lanes(NamedTuple):
    """Drawn episodes as torch constants: one entry per slice, each a tensor of shape (episodes,) unless stated otherwise."""

    slices: tuple[Slice, ...]
    """The slices; a field that is equal for all episodes is a float."""
    exogenous: tuple[torch.Tensor, ...]
    """Features that do not depend on our trades, shape (episodes, features - OWN)."""
    drifted: tuple[torch.Tensor, ...]
    """Move of the unaffected price against the order since arrival, currency per share."""
    last_volume: tuple[torch.Tensor, ...]
    """Market volume of the previous slice, shares."""
    rest_volume: tuple[torch.Tensor, ...]
    """Expected market volume of the remaining slices, shares."""
    base: tuple[torch.Tensor, ...]
    """Shares that the action multiplies, see :class:`ActionMode`."""
    worlds: tuple[World, ...] = ()
    """The market at the start of each slice, for an observer that shows beliefs; see :mod:`.torch_beliefs`."""
    laws: tuple[Any, ...] = ()
    """Probabilities of the regimes at the start of each slice, for an observer that shows them."""

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.drifted[0])


class Outcome(NamedTuple):
    """Cost of each episode, bps of the arrival notional, shape (episodes,); positive is a cost."""

    objective: torch.Tensor
    """Objective J in the expected account, risk term included."""
    shortfall: torch.Tensor
    """Realised implementation shortfall."""


def lanes_of(observer: Observer, mode: ActionMode, path: Path, dtype: torch.dtype, device: str = "cpu") -> Lanes:
    """Convert drawn paths into torch constants.

    Args:
        observer: Observer that computes the observations.
        mode: The action mode.
        path: The paths, drawn by numpy.
        dtype: Precision of the tensors, float32 or float64.
        device: Device of the tensors.
    """
    market = observer.market
    column = np.arange(market.slices)[:, None]
    cell = market.cell(column, observer.seen(path.world.regime[:-1]))
    volume = path.slices.volume
    view = observer.view(cell)
    last_volume = np.concatenate([market.numbers.slice_volume * path.world.volume_ratio[:1], volume[:-1]])
    side = float(market.scenario.side)
    ratio = last_ratio(market.numbers, observer.hidden, last_volume, view.last_expected, path.world.volume_ratio[:-1])
    drawn = drawn_features(ratio, side, path.world.flow[:-1])
    drawn_columns = [np.broadcast_to(values, volume.shape).astype(np.float32)[..., None] for values in drawn]

    def tensors(values: NDArray[Any]) -> tuple[torch.Tensor, ...]:
        return torch.tensor(values, dtype=dtype, device=device).unbind()

    fields = [_constants(values) or tensors(values) for values in path.slices]
    return Lanes(
        tuple(Slice(*values) for values in zip(*fields, strict=True)),
        tensors(np.concatenate([*drawn_columns, observer.known.take(cell, axis=0)], axis=-1)),
        tensors(side * (path.world.price[:-1] - market.scenario.arrival_price)),
        tensors(last_volume),
        tensors(view.rest_volume),
        tensors(mode.base.take(cell)),
        worlds_of(observer, path, dtype, device),
        laws_of(observer, path, dtype, device),
    )


def _constants(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return one float per slice if a field is broadcast over the episodes, else an empty tuple."""
    return tuple(float(value) for value in values[:, 0]) if values.strides[1] == 0 else ()


class Terms(NamedTuple):
    """What the rollout knows of the order and the market; numbers, or tensors of shape (episodes,)."""

    quantity: Any
    """Shares."""
    impact: Impact
    scales: Any
    """Units of the features (:class:`~hyperexec_env.envs.features.Scales`)."""
    largest: Any
    """:func:`~hyperexec_env.envs.features.reach` of the quantity."""
    plan: tuple[Any, ...]
    """Remaining fraction of the order in the expected-volume schedule, one entry per slice."""
    bps: Any
    """Bps of the arrival notional for one unit of currency."""
    complete: bool
    """Whether the last slice completes the order."""


def terms_of(observer: Observer) -> Terms:
    """Return the terms of the order of a market, floats."""
    market = observer.market
    quantity, impact = float(market.scenario.quantity), Impact(*map(float, market.impact))
    return Terms(
        quantity,
        impact,
        observer.sight.scales,
        reach(quantity, impact.transient_exponent),
        tuple(map(float, market.plan)),
        1e4 / (quantity * market.scenario.arrival_price),
        market.scenario.complete,
    )


def roll(
    observer: Observer, mode: ActionMode, lanes: Lanes, act: Callable[[torch.Tensor], torch.Tensor], shortfall: bool = True
) -> Outcome:
    """Run a policy over whole episodes; the costs are differentiable in the policy's parameters.

    Args:
        observer: Observer that computes the observations.
        mode: The action mode.
        lanes: The episodes.
        act: The policy: observations of shape (episodes, features) -> actions of shape (episodes,).
        shortfall: Whether to compute the realised shortfall (zero otherwise).
    """
    believed = belief_features(observer, lanes.slices, lanes.worlds, lanes.laws)

    def shares(k: int, state: Any, own: tuple[torch.Tensor, ...]) -> Any:
        beliefs = [torch.as_tensor(values).expand_as(own[0])[:, None] for values in believed(k, state[0])]
        seen = torch.cat([torch.stack(own, dim=1), lanes.exogenous[k], *beliefs], dim=1)
        return mode.shares(act(seen), state[0], lanes.base[k])

    return roll_shares(terms_of(observer), lanes, shares, shortfall)


def roll_shares(
    terms: Terms, lanes: Lanes, shares: Callable[[int, Any, tuple[torch.Tensor, ...]], Any], shortfall: bool = True
) -> Outcome:
    """Run a policy that returns shares; see :func:`roll`.

    Args:
        terms: The terms of the order.
        lanes: The episodes.
        shares: The policy: slice, state (remaining, permanent, transient) and own features -> shares, (episodes,).
        shortfall: Whether to compute the realised shortfall (zero otherwise).
    """
    zero = torch.zeros_like(lanes.drifted[0])
    state: tuple[Any, Any, Any] = (zero + terms.quantity, zero, zero)
    last_shares, expected, realised = zero, zero, zero
    for k, slice in enumerate(lanes.slices):
        known = (lanes.drifted[k], terms.plan[k], lanes.rest_volume[k])
        own = own_features(terms.scales, terms.quantity, terms.largest, state, last_shares, lanes.last_volume[k], known)
        before = state[0]
        state, cost = move(terms.impact, state, slice, shares(k, state, own))
        last_shares = before - state[0]
        expected = expected + expected_cost(cost)
        realised = realised + shortfall_cost(cost) if shortfall else realised
    if not terms.complete:
        marked, marked_in_objective = close(terms.impact, State(*state), terms.quantity)
        expected, realised = expected + marked_in_objective, realised + marked
    return Outcome(expected * terms.bps, realised * terms.bps)
