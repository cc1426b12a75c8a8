"""Train one policy for many markets: each gradient step trades in other draws of a distribution of markets."""

from __future__ import annotations

from hyperexec_env.training.run import Trained
from hyperexec_env.training.universal import Args, train

__all__ = ["Args", "main"]

ORDER = 4.5


def main(args: Args) -> Trained:
    """Train a policy, and return the policy and its folder."""
    return Trained(train(args), args.folder, "regime-day", "")
