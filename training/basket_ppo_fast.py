"""The lean PPO of a basket: the trainer of one asset, with one network that all assets share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hyperexec_env.envs.basket_features import ASSET, BASKET
from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy

from .pathwise import network_shapes
from .ppo import whole_episodes
from .ppo_fast import PpoTrainer

if TYPE_CHECKING:
    import torch

__all__ = ["BasketPpoTrainer"]

_VALUE, _VARIANCE = (
    next(at for at, each in enumerate(BASKET) if each.name == name) for name in ("value_left", "variance_left")
)
"""Places in the observation of what is left of the basket."""


class BasketPpoTrainer(PpoTrainer):
    """The trainer of a basket: its network maps the features of the basket and of an asset to the action of the asset."""

    def set_task(self, scenario: Any) -> list[tuple[int, ...]]:
        """Create the environments; return the shapes of the weights and biases of each layer, in order."""
        args, self.kind = self.args, BasketNetworkPolicy
        options = {"scenario": scenario, "reward": args.reward, "action_mode": args.action_mode}
        self.env = HyperExecBasketVectorEnv(len(self.lane_seeds), "SameStep", **options)
        self.slices = int(scenario.slices)
        self.episodes = whole_episodes(args.steps, self.slices) // self.slices
        self.outputs = math.prod(self.env.single_action_space.shape)
        return network_shapes(len(BASKET) + len(ASSET), args.hidden, (self.outputs,))

    def inputs(self, seen: torch.Tensor) -> torch.Tensor:
        """Return the features of the basket and of each asset, shape (seeds, n assets, inputs)."""
        seeds, n, _ = seen.shape
        whole = seen[:, :, None, : len(BASKET)].expand(-1, -1, self.outputs, -1)
        own = seen[:, :, len(BASKET) :].reshape(seeds, n, self.outputs, len(ASSET))
        joined: torch.Tensor = self.torch.cat([whole, own], dim=3).view(seeds, n * self.outputs, -1)
        return joined

    def left(self, seen: torch.Tensor, alive: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the value and the variance that are left, and the square of the value."""
        value, variance = alive * seen[..., _VALUE], alive * seen[..., _VARIANCE]
        return value, value**2, variance
