"""Models of stable-baselines3 for a child order at the touch: actions that are not possible are masked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork

from hyperexec_env.envs.touch_features import touch_feature_names
from hyperexec_env.market.touch import KEEP, RESTS

__all__ = ["masked_policy"]

_IMPOSSIBLE = -1e9
"""Value of an action that is not possible."""


class _MaskedQNetwork(QNetwork):
    """A Q-network that reads from the observation which actions are possible, as the environment masks them."""

    lots = 1
    takes = 1
    masks = False
    """Whether the values of actions that are not possible are masked; the network that is fitted to them does not mask."""

    def possible(self, observation: torch.Tensor) -> torch.Tensor:
        """Return whether each action is possible, shape (batch, actions)."""
        names = touch_feature_names()
        left, at_touch, deeper = (observation[:, names.index(name)] for name in ("lots_left", "at_touch", "deeper"))
        takes = torch.arange(self.takes) <= (left * self.lots).round()[:, None]
        requests = (torch.arange(len(RESTS)) != KEEP) | (at_touch + deeper > 0.5)[:, None]
        return (takes[:, :, None] & requests[:, None, :]).flatten(1)

    def forward(self, obs: Any) -> torch.Tensor:
        """Return the values of the actions."""
        values = super().forward(obs)
        return values.masked_fill(~self.possible(obs), _IMPOSSIBLE) if self.masks else values

    def _predict(self, observation: Any, deterministic: bool = True) -> torch.Tensor:
        values = super().forward(observation)
        return values.masked_fill(~self.possible(observation), _IMPOSSIBLE).argmax(dim=1).reshape(-1)


def masked_policy(lots: int, takes: int) -> type[DQNPolicy]:
    """Return the policy class of DQN for some numbers of lots and of choices of lots to take.

    Greedy actions and the values of the next state are masked. An exploring action that is not possible does what the
    environment makes of it, which is an action that is possible.
    """

    class MaskedPolicy(DQNPolicy):
        """The policy of DQN with masks."""

        def make_q_net(self) -> QNetwork:
            """Return a Q-network."""
            arguments = self._update_features_extractor(self.net_args, features_extractor=None)
            network = _MaskedQNetwork(**arguments).to(self.device)
            network.lots, network.takes = lots, takes
            return network

        def _build(self, lr_schedule: Callable[[float], float]) -> None:
            super()._build(lr_schedule)
            self.q_net_target.masks = True  # type: ignore[assignment]

    return MaskedPolicy
