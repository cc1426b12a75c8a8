"""Trained policies of an order over venues as plain data: a small network from the observation to all numbers of the action."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.venue_task import (
    VenueSituation,
    VenueTask,
    build_venue_task,
    observe_venues,
    venue_features,
)
from hyperexec_env.market.venue_path import VenueMarket
from hyperexec_env.market.venue_scenario import MOST_VENUES, VENUES

from .graph import Graph, Value
from .network import Layers, NetworkPolicy, apply_head, check_chain, read_policy

__all__ = ["VenueNetworkPolicy", "check_venue_layers", "load_venue_policy"]


class _Layout(NamedTuple):
    """The venues for which a network has inputs and outputs."""

    router: str
    """Router of the lit requests, one of :data:`~hyperexec_env.envs.venue_task.ROUTERS`."""
    lit: int
    """Number of lit venues."""
    hidden: int
    """Number of hidden venues."""


@lru_cache(maxsize=64)
def _layout(inputs: int, outputs: int) -> _Layout:
    """Return the venues of a network, which its sizes determine.

    Raises:
        ValueError: No scenario with venues has an observation and an action of these sizes.
    """
    own = len(observation_names())
    for lit in range(1, MOST_VENUES + 1):
        for router, hidden in (("water-filling", outputs - 1), ("agent", outputs - 1 - lit)):
            if 0 <= hidden <= MOST_VENUES - lit and own + len(venue_features(lit, hidden)) == inputs:
                return _Layout(router, lit, hidden)
    raise ValueError(f"a policy over venues has no network of {inputs} inputs and {outputs} outputs")


@dataclass(frozen=True, eq=False)
class VenueNetworkPolicy(NetworkPolicy):
    """A multi-layer perceptron from the observation to the lit pace, the posts, and with the router "agent" the lit split.

    The fields are those of :class:`~hyperexec_env.evaluation.network.NetworkPolicy`.
    """

    trades: ClassVar[str] = VENUES.word

    @cached_property
    def _sizes(self) -> _Layout:
        """The venues of the network."""
        return _layout(self.layers[0][0].shape[1], len(self.layers[-1][1]))

    @property
    def router(self) -> str:
        """Router of the lit requests: "agent" if the network splits them."""
        return self._sizes.router

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        of_venues = venue_features(self._sizes.lit, self._sizes.hidden)
        return (*observation_names(), *(feature.name for feature in of_venues))

    def action(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the actions for each observation, shape (episodes, features) -> (episodes, numbers)."""
        values = self.scores(observation)
        return np.stack([apply_head(self.head, values[:, [number]]) for number in range(values.shape[1])], axis=1)

    def write(self, graph: Graph) -> Value:
        """Add the inputs and the nodes of :meth:`action` to an ONNX graph, and return the actions."""
        observation = graph.input("observation", len(self.names))
        return graph.head(self.head, graph.layers(self.layers, self.activation, observation))

    def act(self, situation: VenueSituation) -> Any:  # type: ignore[override]
        """Return the shares requested of each venue, shape (venues, ...) with the shape of `situation.order.remaining`.

        Raises:
            ValueError: The scenario has other numbers of venues.
        """
        market, sizes = situation.market, self._sizes
        if (market.lit, market.count - market.lit) != (sizes.lit, sizes.hidden):
            raise ValueError(
                f"policy {self.name!r} trades {sizes.lit} lit and {sizes.hidden} hidden venues, got a scenario with "
                f"{market.lit} and {market.count - market.lit}"
            )
        task, shape = _task(market, sizes.router, self.observe_regime), np.shape(situation.order.remaining)
        whole = _as_batch(situation, shape)
        actions = self.action(observe_venues(task.order.observer, whole)).T
        base = task.order.mode.base.take(market.market.cell(whole.order.k, whole.order.seen))
        asked, _ = task.requests(list(actions), whole.order.remaining, base, whole.finishing, whole.terms)
        return np.stack(asked).reshape(market.count, *shape)


def _as_batch(situation: VenueSituation, shape: tuple[int, ...]) -> VenueSituation:
    """Return a situation whose numbers are arrays of shape (episodes,); a single situation is one episode."""

    def wide(values: Any) -> Any:
        return np.broadcast_to(values, shape).reshape(-1)

    order = situation.order._replace(
        **{name: wide(value) for name, value in situation.order._asdict().items() if name != "market"}
    )
    parts = {name: [wide(values) for values in getattr(situation, name)] for name in VenueSituation._fields[2:]}
    return situation._replace(order=order, **parts)


@lru_cache(maxsize=16)
def _task(market: VenueMarket, router: str, observe_regime: bool) -> VenueTask:
    """Return what translates a situation to an observation, and an action to requests."""
    return build_venue_task(market.scenario, router=router, observe_regime=observe_regime)


def check_venue_layers(layers: Layers, head: str) -> None:
    """Check that layers map an observation of an order over venues to its action.

    Raises:
        ValueError: As :func:`~hyperexec_env.evaluation.network.check_layers`, the head is discrete, or no scenario has such
            sizes.
    """
    if head == "argmax":
        raise ValueError("head must be 'clip' or 'tanh' over venues, got 'argmax'")
    if not layers or layers[0][0].ndim != 2:
        raise ValueError("the weights of layer 0 must have two dimensions")
    inputs, outputs = layers[0][0].shape[1], len(layers[-1][1])
    _layout(inputs, outputs)
    check_chain(layers, inputs, outputs)


def load_venue_policy(folder: str | Path) -> VenueNetworkPolicy:
    """Read a policy over venues from a folder.

    Raises:
        ValueError: The folder has no policy over venues, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    return read_policy(folder, VenueNetworkPolicy, check_venue_layers)
