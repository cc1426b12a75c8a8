"""Train a policy by DQN (Mnih et al. 2015, stable-baselines3) on discrete paces."""

from __future__ import annotations

from hyperexec_env.training.dqn import Args, train
from hyperexec_env.training.run import Trained, trained

__all__ = ["Args", "main"]

ORDER = 6


def main(args: Args) -> Trained:
    """Train a policy, and return the policy and its folder."""
    return trained(train(args), args)
