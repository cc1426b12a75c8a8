"""Trained policies of a basket as plain data: one small network, applied to each asset with the whole basket as context."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.action import ActionMode, build_action_mode
from hyperexec_env.envs.basket_features import ASSET, BASKET, BasketSight, basket_names, basket_sight, observe_situation
from hyperexec_env.envs.features import Observer, build_observer
from hyperexec_env.envs.situation import Situation
from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.basket_scenario import BASKETS, MOST_ASSETS, BasketScenario
from hyperexec_env.market.scenarios import complete_scenario

from .graph import Graph, Value
from .network import Layers, NetworkPolicy, apply_layers, check_chain, last_sizes, parse_as, parse_policy, read_policy

__all__ = ["BasketNetworkPolicy", "check_basket_layers", "load_basket_policy", "parse_any_policy"]


@dataclass(frozen=True, eq=False)
class BasketNetworkPolicy(NetworkPolicy):
    """A multi-layer perceptron from the blocks of the basket and of one asset to the pace of the asset.

    All assets share the weights, so that their number does not grow with the square of the number of assets; only the biases
    of the first layer, shape (assets, units), differ between assets: they tell the network which asset it trades. The other
    fields are those of :class:`~hyperexec_env.evaluation.network.NetworkPolicy`.
    """

    trades: ClassVar[str] = BASKETS.word

    @property
    def assets(self) -> int:
        """Number of assets d."""
        return len(self.layers[0][1])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return basket_names(self.assets)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the orders of the training; empty where the description does not state them."""
        return () if self.basket is None else self.basket.sides

    @cached_property
    def basket(self) -> BasketScenario | None:
        """The basket of the training; None where the description does not state it."""
        try:
            scenario = complete_scenario(self.about["scenario"])
        except (KeyError, TypeError, ValueError):
            return None
        return scenario if isinstance(scenario, BasketScenario) else None

    @cached_property
    def _of_assets(self) -> list[Layers]:
        """The layers of each asset, weights as columns."""
        (weight, biases), *rest = self._columns
        return [((weight, bias), *rest) for bias in biases]

    def action(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the actions for each observation, shape (episodes, features) -> (episodes, assets)."""
        made = [apply_layers(columns, self.activation, self.head, rows) for columns, rows in self._by_asset(observation)]
        return np.stack(made, axis=1)

    def sizes(self, *given: NDArray[Any]) -> NDArray[np.float32]:
        """Return the sums of absolute terms behind each action, shape (episodes, assets)."""
        made = [last_sizes(columns, self.activation, rows) for columns, rows in self._by_asset(given[0])]
        return np.concatenate(made, axis=1)

    def _by_asset(self, observation: NDArray[np.float32]) -> Iterator[tuple[Layers, NDArray[np.float32]]]:
        """Yield the layers of each asset, and what they observe."""
        whole, own = observation[:, : len(BASKET)], observation[:, len(BASKET) :]
        for columns, block in zip(self._of_assets, np.split(own, self.assets, axis=1), strict=True):
            yield columns, np.concatenate([whole, block], axis=1)

    def write(self, graph: Graph) -> Value:
        """Add the inputs and the nodes of :meth:`action` to an ONNX graph, and return the actions."""
        observation, common, assets = graph.input("observation", len(self.names)), len(BASKET), self.assets
        whole, own = observation[[*range(common)]], observation[[*range(common, len(self.names))]]
        whole = graph.node("Expand", whole.reshape(-1, 1, common), np.array([1, assets, 1]))
        blocks = graph.node("Concat", whole, own.reshape(-1, assets, len(ASSET)), axis=2)
        return graph.single(graph.head(self.head, graph.layers(self.layers, self.activation, blocks)))

    def act(self, situation: Situation) -> Any:
        """Return the shares of the actions, in the shape of `situation.remaining`: (assets,) or (assets, episodes).

        Raises:
            ValueError: The basket has another number of assets, or an order has another side beside the others than in the
                training, which would turn a hedge around.
        """
        market = situation.market
        if len(market.markets) != self.assets:
            raise ValueError(f"policy {self.name!r} trades {self.assets} assets, got a basket of {len(market.markets)}")
        if self.sides and market.sides not in (self.sides, tuple(-side for side in self.sides)):
            trained, got = (" ".join(f"{side:+.0f}" for side in sides) for sides in (self.sides, market.sides))
            raise ValueError(
                f"policy {self.name!r} was trained on the sides {trained}, got {got}: another side of one order turns a hedge "
                "around; train it on this basket"
            )
        sight, observers, modes = _translation(market, self.action_mode, self.observe_regime)
        fields = [name for name in Situation._fields if name not in ("market", "k", "seen")]
        columns = {name: np.asarray(getattr(situation, name)).reshape(self.assets, -1) for name in fields}
        count = columns["remaining"].shape[1]
        k, seen = (np.broadcast_to(values, count) for values in (situation.k, situation.seen))
        actions = self.action(observe_situation(sight, observers, situation._replace(k=k, seen=seen, **columns)))
        shares = [
            mode.shares(actions[:, i], columns["remaining"][i], mode.base.take(each.cell(k, seen)))
            for i, (mode, each) in enumerate(zip(modes, market.markets, strict=True))
        ]
        return np.stack(shares).reshape(np.shape(situation.remaining))


@lru_cache(maxsize=16)
def _translation(
    market: BasketMarket, action_mode: str, observe_regime: bool
) -> tuple[BasketSight, list[Observer], list[ActionMode]]:
    """Return what translates a situation to an observation, and actions to shares."""
    observers = [build_observer(each, observe_regime) for each in market.markets]
    return basket_sight(market), observers, [build_action_mode(action_mode, each) for each in market.markets]


def check_basket_layers(layers: Layers, head: str) -> None:
    """Check that layers map the blocks of a basket and of one asset to a continuous action.

    Raises:
        ValueError: As :func:`~hyperexec_env.evaluation.network.check_layers`, or the head is discrete.
    """
    if head == "argmax":
        raise ValueError("head must be 'clip' or 'tanh' for a basket, got 'argmax'")
    if not layers or layers[0][1].ndim != 2 or not len(layers[0][1]):
        raise ValueError("the biases of layer 0 must have a row for each asset")
    if len(layers[0][1]) > MOST_ASSETS:
        raise ValueError(f"a policy trades at most {MOST_ASSETS} assets, got {len(layers[0][1]):,}")
    (weight, biases), *rest = layers
    check_chain(((weight, biases[0]), *rest), len(BASKET) + len(ASSET), 1)
    if not np.isfinite(biases).all():
        raise ValueError("layer 0 must hold finite numbers only")


def load_basket_policy(folder: str | Path) -> BasketNetworkPolicy:
    """Read a policy of a basket from a folder.

    Raises:
        ValueError: The folder has no policy of a basket, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    return read_policy(folder, BasketNetworkPolicy, check_basket_layers)


def parse_any_policy(description: bytes, weights: bytes) -> NetworkPolicy:
    """Return the policy of one asset or of a basket, whichever observation `policy.json` names.

    Raises:
        ValueError: The contents of `policy.json` and `policy.safetensors` are inconsistent.
        MissingExtra: safetensors is not installed.
    """
    try:
        names = json.loads(description)["observation_names"]
    except (KeyError, RecursionError, TypeError, ValueError):
        names = []  # the policy of one asset reports the fault
    if isinstance(names, list) and names[:1] == [BASKET[0].name]:
        return parse_as(description, weights, BasketNetworkPolicy, check_basket_layers)
    return parse_policy(description, weights)
