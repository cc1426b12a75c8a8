"""Train a policy by SAC (Haarnoja et al. 2018, stable-baselines3)."""

from __future__ import annotations

from hyperexec_env.training.run import Trained, trained
from hyperexec_env.training.sac import Args, train

__all__ = ["Args", "main"]

ORDER = 5


def main(args: Args) -> Trained:
    """Train a policy, and return the policy and its folder."""
    return trained(train(args), args)
