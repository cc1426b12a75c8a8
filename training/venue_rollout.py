"""Differentiable rollouts over venues in torch: :mod:`~.torch_rollout` with a list over venues.

Trades call :func:`hyperexec_env.market.venue.venue_move` on tensors, and observations and actions call
:mod:`hyperexec_env.envs.venue_task`. Numpy draws the paths, the shares of the lit venues and the hidden liquidity, which enter
as constants.

A hidden venue fills min(y, A): continuous in the posted shares y, with the derivative 1 where y < A and 0 where y > A. So the
derivative along a path is unbiased for the derivative of the expected cost, whatever the law of A. The feature `censored` (y <=
A) jumps with y, which a derivative along the path would miss: the policy does not read it. It has no value, because hidden
liquidity does not persist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from hyperexec_env.envs.features import own_features, reach
from hyperexec_env.envs.venue_task import VenueTask, features_of_lit, hidden_features, venue_features
from hyperexec_env.market.kernel import Impact, Slice, expected_cost, shortfall_cost
from hyperexec_env.market.venue import total_cost, venue_move
from hyperexec_env.market.venue_lane import since_fill
from hyperexec_env.market.venue_path import Terms, VenueMarket, VenuePath, lit_terms, routed

from .torch_rollout import Lanes, Outcome, lanes_of

__all__ = ["CENSORED", "VenueStack", "roll_venue_stack", "venue_stack_of"]

CENSORED: Final = ".censored"
"""End of the names of the features that the policy does not read."""


class VenueStack(NamedTuple):
    """Drawn episodes as torch constants: one entry per slice, lists over venues of tensors of shape (episodes,)."""

    lanes: Lanes
    """The market of the order without venues."""
    slices: tuple[list[Slice], ...]
    """Slice of each venue."""
    adverse: tuple[list[torch.Tensor], ...]
    """a of each venue, currency per share."""
    terms: tuple[Terms, ...]
    """Terms of the lit venues, on which the router decides."""
    known: tuple[torch.Tensor, ...]
    """Features of the lit venues, shape (episodes, features)."""


def venue_stack_of(task: VenueTask, paths: VenuePath, dtype: torch.dtype, device: str = "cpu") -> VenueStack:
    """Convert drawn paths of an order over venues into torch constants.

    Args:
        task: The task.
        paths: The paths, from :func:`~hyperexec_env.market.venue_path.draw_venue_path`.
        dtype: Precision of the tensors, float32 or float64.
        device: Device of the tensors.
    """
    market, observer = task.market, task.order.observer
    regime = paths.path.world.regime[:-1]
    shape, slices = regime.shape, range(market.slices)

    def tensors(values: Any) -> Any:
        return torch.tensor(np.broadcast_to(values, shape), dtype=dtype, device=device).unbind()

    def by_slice(columns: Any) -> tuple[list[Any], ...]:
        parts = [tensors(values) for values in columns]
        return tuple([part[k] for part in parts] for k in slices)

    fields = [by_slice(one) for one in paths.slices]
    weights, seen = [weight[:-1] for weight in paths.weights], observer.seen(regime)
    terms = lit_terms(market, market.market.mean_volume[np.arange(market.slices)[:, None], seen], seen, weights)
    features = by_slice(features_of_lit(market, weights))
    nothing = torch.zeros((shape[1], 0), dtype=dtype, device=device)
    return VenueStack(
        lanes_of(observer, task.order.mode, paths.path, dtype, device),
        tuple([Slice(*one[k]) for one in fields] for k in slices),
        by_slice([own.take(regime) for own in market.adverse]),
        tuple(Terms(*parts) for parts in zip(*map(by_slice, terms), strict=True)),
        tuple(torch.stack(row, dim=1) if row else nothing for row in features),
    )


def roll_venue_stack(
    task: VenueTask, stack: VenueStack, act: Callable[[torch.Tensor], torch.Tensor], shortfall: bool = True
) -> Outcome:
    """Run a policy over whole episodes; the costs are differentiable in the policy's parameters.

    Args:
        task: The task.
        stack: The episodes.
        act: The policy: observations of shape (episodes, features) -> actions of shape (episodes, numbers).
        shortfall: Whether to compute the realised shortfall (zero otherwise).

    Returns:
        Costs in bps of the arrival notional.
    """
    market, lanes = task.market, stack.lanes
    whole, scales = market.market, task.order.observer.sight.scales
    quantity, impact = float(whole.scenario.quantity), Impact(*map(float, whole.impact))
    largest, lit, last_slice = reach(quantity, impact.transient_exponent), market.lit, market.slices - 1
    names = [feature.name for feature in venue_features(0, market.count - lit)]
    zero = torch.zeros_like(lanes.drifted[0])
    state: tuple[Any, ...] = (zero + quantity, zero, zero)
    posted, gained = ([zero] * market.count for _ in range(2))
    asked: Sequence[torch.Tensor] = posted
    fills: Sequence[torch.Tensor] = posted
    since, last_shares, expected, realised = [zero + float(market.slices)] * market.count, zero, zero, zero
    for k, slices in enumerate(stack.slices):
        known = (lanes.drifted[k], float(whole.plan[k]), lanes.rest_volume[k])
        own = own_features(scales, quantity, largest, state, last_shares, lanes.last_volume[k], known)
        past = hidden_features(market.slices, *(list(part)[lit:] for part in (asked, fills, since, posted, gained)))
        shown = [torch.zeros_like(one) if name.endswith(CENSORED) else one for name, one in zip(names, past, strict=True)]
        observed = [torch.stack(own, dim=1), lanes.exogenous[k], stack.known[k], *(one[:, None] for one in shown)]
        action = act(torch.cat(observed, dim=1)).reshape(len(zero), -1).unbind(1)
        before = state[0]
        asked, _ = task.requests(action, before, lanes.base[k], k == last_slice, stack.terms[k], partial(_split, market))
        state, costs, fills = venue_move(impact, state, slices, asked, stack.adverse[k])
        cost = total_cost(costs)
        posted, gained = list(map(add, posted, asked)), list(map(add, gained, fills))
        since = [since_fill(old, fill, float(market.slices)) for old, fill in zip(since, fills, strict=True)]
        last_shares = before - state[0]
        expected = expected + expected_cost(cost)
        realised = realised + shortfall_cost(cost) if shortfall else realised
    bps = 1e4 / (quantity * whole.scenario.arrival_price)
    return Outcome(expected * bps, realised * bps)


def _split(market: VenueMarket, shares: torch.Tensor, terms: Terms, beta: float) -> Sequence[torch.Tensor]:
    """Split a lit request at the least toll, with its derivative.

    The venues that trade keep one marginal toll q + (1 + beta) c (z / V)^beta, so a larger request goes to them in proportion
    to one over the slopes of their marginal tolls (the implicit function theorem), V (z / V)^(1 - beta) / (beta (1 + beta) c).
    """
    if market.lit == 1 or market.equal:
        return routed(market, shares, terms)
    plain = Terms(*([_plain(values) for values in part] for part in terms))
    parts = [shares.new_tensor(part) for part in routed(market, _plain(shares), plain)]
    rates = [
        (part > 0.0) * volume / scale * (part / volume) ** (1.0 - beta)
        for part, scale, volume in zip(parts, terms.scales, terms.volumes, strict=True)
    ]
    total = reduce(add, rates)
    change = (shares - shares.detach()) / total.masked_fill(total == 0.0, 1.0)
    return [part + rate * change for part, rate in zip(parts, rates, strict=True)]


def _plain(values: torch.Tensor) -> Any:
    """Return the numbers of a tensor in double precision."""
    return values.detach().double().cpu().numpy()
