"""Speed, measured in interleaved rounds, as ratios: of the environments, of the desk's agent, of a training by PPO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import gymnasium as gym

from hyperexec_env.baselines.bench import agent_probes, command_probes, rollout_probes
from hyperexec_env.evaluation.bench import (
    ENVIRONMENT,
    Measure,
    Probe,
    Row,
    bench,
    environment_probes,
    left_out,
    left_out_by_gymnasium,
    report,
    within,
)
from hyperexec_env.extras import need
from hyperexec_env.market.scenario import get_scenario

from . import ppo

__all__ = ["PARTS", "Plan", "Result", "measure", "plan", "training_probes"]

PARTS: Final = ("environment steps", "policy inference in collection", "rest of collection", "gradient updates")
"""Parts of a training by PPO; the third is what the others are not."""
_ENVIRONMENT, _INFERENCE, _REST, _UPDATES = PARTS
_LANES: Final = 8
"""Environments of the reference."""

Shares = dict[str, float]
"""Percent of the time of a training, by part."""
Spent = defaultdict[str, float]
"""Seconds, by part."""


def _default_model(threads: int, steps: int) -> Any:
    """Return stable-baselines3's PPO as it comes, on single environments in a row."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    need("torch", "train").set_num_threads(threads)
    env = DummyVecEnv([lambda: gym.make(ENVIRONMENT)] * _LANES)
    return PPO("MlpPolicy", env, n_steps=steps, seed=0, device="cpu")


def _timed(call: Callable[..., Any], part: str, spent: Spent) -> Callable[..., Any]:
    """Return a function that adds the seconds of each call to a part."""

    def timed(*given: Any, **named: Any) -> Any:
        start = perf_counter()
        result = call(*given, **named)
        spent[part] += perf_counter() - start
        return result

    return timed


def _watch(model: Any) -> Spent:
    """Return the seconds that a model spends in the parts of its training from now on; it goes on counting."""
    spent: Spent = defaultdict(float)
    for owner, method, part in (
        (model.env, "step", _ENVIRONMENT),
        (model.policy, "forward", _INFERENCE),
        (model.policy, "predict_values", _INFERENCE),
        (model, "train", _UPDATES),
    ):
        setattr(owner, method, _timed(getattr(owner, method), part, spent))
    return spent


def _learn(model: Any, updates: int, seconds: float) -> tuple[int, float]:
    """Let a model learn for a time, so many updates at once; return the slices that it traded, and the seconds."""
    slices = updates * model.n_steps * model.n_envs
    traded, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        model.learn(slices, log_interval=None, reset_num_timesteps=False)
        traded += slices
    return traded, perf_counter() - start


def _ours(args: ppo.Args, updates: int, history: list[Shares]) -> Measure:
    """Return a measurement of the slices a second of our PPO, which notes where the time went."""

    @cache
    def ready() -> tuple[Any, Spent]:
        model = ppo.build_model(args, get_scenario(args.scenario))
        return model, _watch(model)

    def measure(seconds: float) -> float:
        model, spent = ready()
        spent.clear()
        traded, took = _learn(model, updates, seconds)
        shares = {part: 100.0 * spent[part] / took for part in PARTS}
        history.append(shares | {_REST: 100.0 - sum(shares.values())})
        return traded / took

    return measure


def _theirs(threads: int, steps: int) -> Measure:
    """Return a measurement of the slices a second of stable-baselines3's PPO, one update at a time."""
    ready = cache(lambda: _default_model(threads, steps))

    def measure(seconds: float) -> float:
        traded, took = _learn(ready(), 1, seconds)
        return traded / took

    return measure


def training_probes(history: list[Shares], args: ppo.Args | None = None, updates: int = 4, steps: int = 2048) -> list[Probe]:
    """Return what is measured of a training by PPO.

    Args:
        history: Where each measurement notes its profile.
        args: Options of our script (default: its own).
        updates: Updates of ours in one measurement, at least; the learning rate falls to zero over them.
        steps: Slices in each lane of the reference between two updates.
    """
    args = args or ppo.Args()
    ours, theirs = _ours(args, updates, history), _theirs(args.threads, steps)
    return [
        Probe("training by PPO", "slices/s", 15.0, "higher", ours, theirs, "stable-baselines3's defaults"),
        # its own measurement would take as long again: it reads what the row above has noted in the same round
        within("environment's share of it", "%", 5.0, lambda _: history[-1][_ENVIRONMENT]),
    ]


class Plan(NamedTuple):
    """What is to be measured."""

    probes: list[Probe]
    left_out: list[str]
    """A line for each kind of rows that needs what is not installed."""
    history: list[Shares]
    """Profile of each measurement of a training, the warm-up first."""


def plan(*, agent: bool = False, training: bool = False, full: bool = False) -> Plan:
    """Return what is to be measured: of nothing that is chosen, the environments and the rollouts.

    Args:
        agent: Choose the desk's agent, in steps of CartPole.
        training: Choose a training by PPO, against stable-baselines3's defaults, and its profile.
        full: Choose everything: environments, a million episodes of evaluate, agent and training.

    Raises:
        MissingExtra: A training is asked for, and stable-baselines3 is not installed.
    """
    chosen: list[Probe] = []
    lines: list[str] = []
    history: list[Shares] = []
    if full or not (agent or training):
        lines += [left_out("rows with numba are", "numba", "fast")]
        numba = not lines[-1]
        lines += [left_out_by_gymnasium() if numba else "", left_out("the first frame is", "PIL", "plot")]
        chosen += environment_probes(numba, pictures=not lines[-1])
        chosen += rollout_probes() if numba else []
        chosen += command_probes() if numba and full else []
    if agent or full:
        chosen += agent_probes()
    if training:
        need("stable_baselines3", "train")
    if training or full:
        lines += [left_out("the training is", "stable_baselines3", "train")]
        chosen += [] if lines[-1] else training_probes(history)
    return Plan(chosen, [line for line in lines if line], history)


@dataclass(frozen=True)
class Result:
    """What was measured; as text it is the report."""

    rounds: int
    seconds: float
    rows: list[Row]
    profile: Shares | None
    """Percent of the time of a training, medians over the rounds; None where no training was measured."""
    left_out: list[str]
    """A line for each kind of rows that needs what is not installed."""

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers under plain keys."""
        return {**asdict(self), "rows": [{**asdict(row), "reached": row.reached} for row in self.rows]}

    def __str__(self) -> str:
        """Return the tables."""
        profile = [] if self.profile is None else ["", "where the time of a training by PPO goes"]
        profile += [f"{part:34}{share:6.1f} %" for part, share in (self.profile or {}).items()]
        return "\n".join([report(self.rows), *self.left_out, *profile])


def measure(
    *, agent: bool = False, training: bool = False, full: bool = False, rounds: int = 7, seconds: float = 0.3
) -> Result:
    """Measure what is chosen, see :func:`plan`.

    Args:
        agent: Choose the desk's agent.
        training: Choose a training by PPO.
        full: Choose everything.
        rounds: Rounds; in each, everything is measured once, beside its reference.
        seconds: Time for one measurement.
    """
    probes, lines, history = plan(agent=agent, training=training, full=full)
    rows = bench(probes, rounds, seconds)
    measured = history[-rounds:]
    profile = {part: median(shares[part] for shares in measured) for part in PARTS} if measured else None
    return Result(rounds, seconds, rows, profile, lines)
