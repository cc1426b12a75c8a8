"""Tune the options of a training by optuna: trials in batches, pruned by successive halving, judged on episodes of their own.

A trial is trained with a part of the budget, and again, from scratch, with a larger part if it is among the best of its batch.
It counts by its mean gap to the optimum on episodes that no training and no board meets. The journal, the trainings and
best.json are in OUT; the same command continues a study that was stopped. Results do not depend on the number of workers.
"""

from __future__ import annotations

from hyperexec_env.training.tune import Args, tune
from hyperexec_env.training.tuned import Tuned

__all__ = ["Args", "main"]

ORDER = 6.5


def main(args: Args) -> Tuned:
    """Tune a training, and return the trials and the command line of the best."""
    return tune(args)
