"""Measure speed in interleaved rounds, as ratios to references: environments, the desk's agent, PPO training."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hyperexec_env.arguments import option
from hyperexec_env.training.bench import Result, measure

ORDER = 16


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec bench``."""

    agent: bool = option(False, "measure the desk's agent only, relative to a step of CartPole")
    training: bool = option(False, "measure PPO training only, relative to stable-baselines3's defaults, and its time profile")
    full: bool = option(False, "measure everything: environments, a million episodes of evaluate, agent and training")
    rounds: int = option(7, "number of rounds; each round measures every row and its reference once")
    seconds: float = option(0.3, "time per measurement, seconds")


def main(args: Args) -> Result:
    """Run the benchmark and return the result."""
    return measure(**asdict(args))
