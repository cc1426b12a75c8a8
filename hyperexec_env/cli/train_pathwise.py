"""Train a policy by pathwise gradients: torch differentiates the cost of whole episodes through the market model."""

from __future__ import annotations

from hyperexec_env.training.pathwise import Args, train
from hyperexec_env.training.run import Trained, trained

__all__ = ["Args", "main"]

ORDER = 4


def main(args: Args) -> Trained:
    """Train a policy, and return the policy and its folder."""
    return trained(train(args), args)
