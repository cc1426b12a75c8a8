"""Pathwise training over venues: the trainer of one asset, whose network returns a number for each choice of the action."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperexec_env.envs.venue_task import build_venue_task
from hyperexec_env.evaluation.venue_network import VenueNetworkPolicy
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.venue_path import draw_venue_path

from .pathwise import Trainer, network_shapes

if TYPE_CHECKING:
    import torch

    from .torch_rollout import Outcome

__all__ = ["VenueTrainer"]


class VenueTrainer(Trainer):
    """The trainer of an order over venues."""

    kind = VenueNetworkPolicy

    def set_task(self, scenario: Any) -> list[tuple[int, ...]]:
        """Build the task; return the shapes of the weights and biases of each layer, in order."""
        self.task = build_venue_task(scenario, router=self.args.router, observe_regime=self.args.observe_regime)
        return network_shapes(len(self.task.names), self.args.hidden, outputs=math.prod(self.task.shape))

    def initial(self) -> Any:
        """Draw the initial weights; those of features that the policy does not read are zero, and stay zero."""
        from .venue_rollout import CENSORED

        weights = super().initial()
        unread = [name.endswith(CENSORED) for name in self.task.names]
        weights[: math.prod(self.shapes[0])].reshape(self.shapes[0])[:, unread] = 0.0
        return weights

    def draw(self, seed: int, first: int, count: int) -> Any:
        """Draw episodes `first` to `first + count - 1` of a seed, and return them as torch constants."""
        from .venue_rollout import venue_stack_of

        market = self.task.market
        keys = episode_keys(seed, np.arange(first, first + count))
        paths = draw_venue_path(market, keys, float(market.market.scenario.side))
        return venue_stack_of(self.task, paths, self.torch.float32, self.args.device)

    def roll(self, weights: torch.Tensor, lanes: Any) -> Outcome:
        """Run the policy with a weight vector over episodes, and return the costs."""
        from .venue_rollout import roll_venue_stack

        return roll_venue_stack(self.task, lanes, self.network(weights), self.args.objective != "expected")
