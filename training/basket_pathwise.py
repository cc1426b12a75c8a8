"""Pathwise training of a basket: the trainer of one asset, with correlated paths and one network that all assets share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hyperexec_env.envs.basket_features import ASSET, BASKET
from hyperexec_env.envs.basket_task import build_basket_task
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy
from hyperexec_env.market.basket_path import draw_basket_path
from hyperexec_env.market.noise import episode_keys

from .pathwise import Trainer, network_shapes

if TYPE_CHECKING:
    import torch

    from .torch_rollout import Outcome

__all__ = ["BasketTrainer"]


class BasketTrainer(Trainer):
    """The trainer of a basket: weights of one network, and a row of first biases for each asset."""

    kind = BasketNetworkPolicy

    def set_task(self, scenario: Any) -> list[tuple[int, ...]]:
        """Build the task; return the shapes of the weights and biases of each layer, in order."""
        from .basket_rollout import matrices_of

        self.task = build_basket_task(scenario)
        self.matrices = matrices_of(self.task, self.torch.float32, self.args.device)
        return network_shapes(len(BASKET) + len(ASSET), self.args.hidden, (len(self.task.assets),))

    def draw(self, seed: int, first: int, count: int) -> Any:
        """Draw episodes `first` to `first + count - 1` of a seed, and return them as torch constants."""
        from .basket_rollout import stack_of

        paths = draw_basket_path(self.task.market, episode_keys(seed, np.arange(first, first + count)))
        return stack_of(self.task, paths, self.torch.float32, self.args.device)

    def roll(self, weights: torch.Tensor, lanes: Any) -> Outcome:
        """Run the policy with a weight vector over episodes, and return the costs."""
        from .basket_rollout import roll_stack

        return roll_stack(self.task, self.matrices, lanes, self.network(weights), self.args.objective != "expected")
