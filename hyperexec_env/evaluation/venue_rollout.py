"""Rollouts of an order over venues: batches of whole episodes, with every policy on the same paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import price_of_last, situation_of
from hyperexec_env.envs.venue_task import VenueSituation
from hyperexec_env.market.lane import EpisodeOrder, Lane, first_lane, settle
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, cost_scale
from hyperexec_env.market.venue_lane import limited, numbers_of, past_of_hidden, split_spread, stages_of
from hyperexec_env.market.venue_path import VenueMarket, VenuePath, draw_venue_path, venue_row
from hyperexec_env.records import map_leaves
from hyperexec_env.workers import ALONE, Workers, batches_of

__all__ = ["VenueOutcome", "VenueTrader", "roll_venues", "rollout_venues"]

Floats = NDArray[np.float64]
BATCH = 1024
"""Episodes per batch."""


class VenueTrader(Protocol):
    """A policy over venues: `act` returns a request of shares for each venue."""

    @property
    def name(self) -> str:
        """Name of the policy."""

    def act(self, situation: VenueSituation) -> Any:
        """Return the shares requested of each venue, shape (venues, episodes)."""


class VenueOutcome(NamedTuple):
    """Results of one policy on some episodes; costs in bps of the arrival notional, each of shape (episodes,)."""

    objective: Floats
    """J of the expected account."""
    shortfall: Floats
    """Implementation shortfall, price noise and permanent cost included."""
    risk: Floats
    """Risk term of the objective."""
    components: dict[str, Floats]
    """The shortfall by source, with fees and adverse selection apart."""
    filled: Floats
    """Fraction of the order that each venue filled, shape (venues, episodes)."""


def roll_venues(market: VenueMarket, policy: VenueTrader, paths: VenuePath) -> VenueOutcome:
    """Run a policy over whole paths.

    Args:
        market: The market.
        policy: The policy; one with `observe_regime` False does not see the regime.
        paths: The paths, from :func:`~hyperexec_env.market.venue_path.draw_venue_path`.

    Raises:
        ValueError: The policy did not return finite shares of the shape (venues, episodes).
    """
    whole, path = market.market, paths.path
    numbers, quantity, shape = whole.numbers, whole.scenario.quantity, path.keys.shape
    order = EpisodeOrder(path.keys, float(whole.scenario.side), quantity, cost_scale(quantity, numbers.arrival_price))
    start: World = map_leaves(lambda values: values[0], path.world)
    lane: Lane = map_leaves(lambda values: np.broadcast_to(values, shape), first_lane(numbers, quantity, start))
    stages, venues = stages_of(market), numbers_of(market)
    state = stages.open(numbers, venues, order)
    hidden = not getattr(policy, "observe_regime", True)
    for k in range(market.slices):
        lane = lane._replace(k=k)
        seen = situation_of(whole, numbers, hidden, order, lane, price_of_last(hidden, order, lane))
        weights = [weight[k] for weight in paths.weights]
        situation = VenueSituation(market, seen, weights, *past_of_hidden(market, state))
        asked = np.asarray(policy.act(situation), dtype=np.float64)
        if asked.shape != (market.count, *shape) or not np.isfinite(asked).all():
            wanted = (market.count, *shape)
            raise ValueError(f"policy {policy.name!r} must return finite shares of the shape {wanted}, got {asked.shape}")
        slices = [map_leaves(lambda values: values if np.ndim(values) == 0 else values[k], one) for one in paths.slices]  # noqa: B023
        world: World = map_leaves(lambda values: values[k + 1], path.world)  # noqa: B023
        adverse = (*[0.0] * market.lit, *venue_row(market, path.world.regime[k]).adverse)
        shares = limited(lane.state.remaining, list(asked))
        lane, state, _ = stages.book(numbers, venues, lane, state, slices, adverse, world, shares, asked.sum(axis=0))
    statement = settle(numbers, order, lane).statement
    components = split_spread(statement.components, -order.scale * state.fees, -order.scale * state.adverse)
    return VenueOutcome(
        objective=np.broadcast_to(statement.objective, shape),
        shortfall=np.broadcast_to(statement.shortfall, shape),
        risk=np.broadcast_to(statement.risk, shape),
        components={name: np.broadcast_to(value, shape) for name, value in components.items()},
        filled=np.stack(state.filled) / quantity,
    )


def rollout_venues(
    market: VenueMarket, policies: Sequence[VenueTrader], episodes: int, seed: int, workers: Workers = ALONE
) -> list[VenueOutcome]:
    """Run policies on the same episodes of a board, in batches that bound the memory; return the outcome of each."""
    batches = workers.map(_rolled, (market, tuple(policies), seed), batches_of(episodes, BATCH))
    return [_joined(outcomes) for outcomes in zip(*batches, strict=True)]


def _rolled(shared: tuple[VenueMarket, Sequence[VenueTrader], int]) -> Callable[[range], list[VenueOutcome]]:
    """Return the function of a batch of episodes, which returns the outcome of each policy."""
    market, policies, seed = shared

    def roll(numbers: range) -> list[VenueOutcome]:
        paths = draw_venue_path(market, episode_keys(seed, np.array(numbers), board=True), float(market.market.scenario.side))
        return [roll_venues(market, policy, paths) for policy in policies]

    return roll


def _joined(outcomes: Sequence[VenueOutcome]) -> VenueOutcome:
    """Return the outcomes of the batches of one policy as one."""
    return VenueOutcome(
        objective=np.concatenate([one.objective for one in outcomes]),
        shortfall=np.concatenate([one.shortfall for one in outcomes]),
        risk=np.concatenate([one.risk for one in outcomes]),
        components={name: np.concatenate([one.components[name] for one in outcomes]) for name in outcomes[0].components},
        filled=np.concatenate([one.filled for one in outcomes], axis=1),
    )
