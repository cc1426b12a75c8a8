"""The actor of PPO for a basket: one network that all assets share, and a critic that sees the whole basket.

The actor is that of :class:`~hyperexec_env.evaluation.basket_network.BasketNetworkPolicy`: its inputs are the features of the
basket and of one asset, its output is the action of the asset, and only the biases of its first layer differ between assets.
"""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from hyperexec_env.envs.basket_features import ASSET, BASKET

__all__ = ["BasketActorCritic"]


class _First(nn.Module):
    """The first layer of the actor: shared weights, and a row of biases for each asset."""

    def __init__(self, assets: int, units: int) -> None:
        """Make the layer with orthogonal weights and biases of zero."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(units, len(BASKET) + len(ASSET)))
        self.bias = nn.Parameter(torch.zeros(assets, units))
        nn.init.orthogonal_(self.weight, 2.0**0.5)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the units of each asset, shape (batch, features) -> (batch, assets, units)."""
        assets = len(self.bias)
        whole = observation[:, None, : len(BASKET)].expand(-1, assets, -1)
        own = observation[:, len(BASKET) :].reshape(len(observation), assets, len(ASSET))
        return torch.cat([whole, own], dim=2) @ self.weight.T + self.bias


class _Extractor(nn.Module):
    """The hidden layers of actor and critic."""

    def __init__(self, assets: int, units: int, features: int) -> None:
        """Make the layers."""
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = units
        self.policy_net = nn.Sequential(_First(assets, units), nn.Tanh(), _linear(units, units), nn.Tanh())
        self.value_net = nn.Sequential(_linear(features, units), nn.Tanh(), _linear(units, units), nn.Tanh())

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last hidden layer of the actor, shape (batch, assets, units), and of the critic."""
        return self.forward_actor(observation), self.forward_critic(observation)

    def forward_actor(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the last hidden layer of the actor, shape (batch, assets, units)."""
        found: torch.Tensor = self.policy_net(observation)
        return found

    def forward_critic(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the last hidden layer of the critic, shape (batch, units)."""
        found: torch.Tensor = self.value_net(observation)
        return found


class _Actions(nn.Module):
    """The last layer of the actor: one action for each asset."""

    def __init__(self, units: int) -> None:
        """Make the layer, which begins near zero: every asset on its schedule."""
        super().__init__()
        self.linear = _linear(units, 1, 0.01)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the means of the actions, shape (batch, assets, units) -> (batch, assets)."""
        found: torch.Tensor = self.linear(hidden)
        return found.squeeze(-1)


def _linear(inputs: int, outputs: int, gain: float = 2.0**0.5) -> nn.Linear:
    """Return a linear layer with orthogonal weights and biases of zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class BasketActorCritic(ActorCriticPolicy):
    """Actor and critic of a basket for stable-baselines3; the other arguments are those of its `ActorCriticPolicy`.

    Args:
        units: Units of each of the two hidden layers.
    """

    def __init__(self, *given: Any, units: int = 64, **options: Any) -> None:
        """Build the networks."""
        self._units = units
        super().__init__(*given, **options)

    def _build(self, lr_schedule: Any) -> None:
        """Make the networks and the optimiser."""
        shape: Any = self.action_space.shape
        distribution: Any = self.action_dist
        self.mlp_extractor: Any = _Extractor(shape[0], self._units, self.features_dim)
        _, self.log_std = distribution.proba_distribution_net(self._units, self.log_std_init)
        self.action_net: Any = _Actions(self._units)
        self.value_net = _linear(self._units, 1, 1.0)
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def actor_layers(self) -> list[nn.Module]:
        """Return the layers from observation to action, each with `weight` and `bias`."""
        first, _, second, _ = self.mlp_extractor.policy_net
        return [first, second, self.action_net.linear]
