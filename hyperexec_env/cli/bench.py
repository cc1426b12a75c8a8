"""Measure the speed in interleaved rounds, as ratios: of the environments, of the desk's agent, of a training by PPO."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hyperexec_env.arguments import option
from hyperexec_env.training.bench import Result, measure

ORDER = 16


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec bench``."""

    agent: bool = option(False, "measure the desk's agent only, in steps of CartPole")
    training: bool = option(False, "measure a training by PPO only, against stable-baselines3's defaults, and its profile")
    full: bool = option(False, "measure everything: environments, a million episodes of evaluate, agent and training")
    rounds: int = option(7, "rounds; in each, everything is measured once, beside its reference")
    seconds: float = option(0.3, "time for one measurement, seconds")


def main(args: Args) -> Result:
    """Measure, and return what was found."""
    return measure(**asdict(args))
