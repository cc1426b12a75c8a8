"""Speed benchmark in interleaved rounds, as ratios to references: environments, the desk's agent, and PPO training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import gymnasium as gym

from hyperexec_env.baselines.bench import (
    agent_probes,
    command_probes,
    reading_probes,
    rollout_probes,
    solver_probes,
    unknown_probes,
)
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

from . import ppo, ppo_fast

__all__ = ["PARTS", "Plan", "Result", "measure", "plan", "training_probes"]

PARTS: Final = ("environment steps", "policy inference in collection", "rest of collection", "gradient updates")
"""Parts of a PPO training; the third is the time left over by the others."""
_ENVIRONMENT, _INFERENCE, _REST, _UPDATES = PARTS
_LANES: Final = 8
"""Number of environments of the reference."""

Shares = dict[str, float]
"""Percentage of the training time by part."""
Spent = defaultdict[str, float]
"""Seconds by part."""


def _default_model(threads: int, steps: int) -> Any:
    """Return stable-baselines3's PPO with its default options, on a `DummyVecEnv` of single environments."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    need("torch", "train").set_num_threads(threads)
    env = DummyVecEnv([lambda: gym.make(ENVIRONMENT)] * _LANES)
    return PPO("MlpPolicy", env, n_steps=steps, seed=0, device="cpu")


def _timed(call: Callable[..., Any], part: str, spent: Spent) -> Callable[..., Any]:
    """Return a function that wraps a call and adds its seconds to a part."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        result = call(*args, **kwargs)
        spent[part] += perf_counter() - start
        return result

    return timed


def _profile(model: Any) -> Spent:
    """Instrument a model, and return the seconds by part of its training; the record grows as the model trains."""
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
    """Train a model for at least `seconds`, `updates` updates at a time; return the traded slices and the elapsed seconds."""
    slices = updates * model.n_steps * model.n_envs
    traded, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        model.learn(slices, log_interval=None, reset_num_timesteps=False)
        traded += slices
    return traded, perf_counter() - start


def _ours(args: ppo.Args, updates: int, history: list[Shares]) -> Measure:
    """Return a measurement of our PPO in slices per second, which appends each time profile to `history`."""

    @cache
    def ready() -> tuple[Any, Spent]:
        model = ppo.build_model(args, get_scenario(args.scenario))
        return model, _profile(model)

    def measure(seconds: float) -> float:
        model, spent = ready()
        spent.clear()
        traded, took = _learn(model, updates, seconds)
        shares = {part: 100.0 * spent[part] / took for part in PARTS}
        history.append(shares | {_REST: 100.0 - sum(shares.values())})
        return traded / took

    return measure


def _fast(args: ppo.Args, updates: int) -> Measure:
    """Return a measurement of our PPO of paired lanes in slices per second, with the same lanes and layers."""

    @cache
    def ready() -> ppo_fast.PpoTrainer:
        same = {name: getattr(args, name) for name in ("scenario", "lanes", "steps", "batch_size", "hidden", "threads")}
        return ppo_fast.PpoTrainer(
            ppo_fast.Args(**same, paired=min(ppo_fast.Args.paired, args.lanes)), get_scenario(args.scenario)
        )

    def measure(seconds: float) -> float:
        trainer, traded, start = ready(), 0, perf_counter()
        while perf_counter() - start < seconds:
            for _ in range(updates):
                trainer.learn()
            traded += updates * trainer.rows
        return traded / (perf_counter() - start)

    return measure


def _theirs(threads: int, steps: int) -> Measure:
    """Return a measurement of stable-baselines3's PPO in slices per second, one update at a time."""
    ready = cache(lambda: _default_model(threads, steps))

    def measure(seconds: float) -> float:
        traded, took = _learn(ready(), 1, seconds)
        return traded / took

    return measure


def training_probes(history: list[Shares], args: ppo.Args | None = None, updates: int = 4, steps: int = 2048) -> list[Probe]:
    """Return the probes of a PPO training.

    Args:
        history: List to which each measurement appends its time profile.
        args: Options of our script (default: the defaults of the script).
        updates: Minimum number of our updates per measurement; the learning rate decays to zero over them.
        steps: Slices per lane of the reference between two updates.
    """
    args = args or ppo.Args()
    ours, theirs = _ours(args, updates, history), _theirs(args.threads, steps)
    return [
        Probe("training by PPO", "slices/s", 15.0, "higher", ours, theirs, "stable-baselines3's defaults"),
        # reads the profile that the probe above appended in the same round, instead of training again
        within("environment's share of it", "%", 5.0, lambda _: history[-1][_ENVIRONMENT]),
        Probe(
            "training by PPO-fast", "slices/s", 4.0, "higher", _fast(args, updates), _ours(args, updates, []), "training by PPO"
        ),
    ]


class Plan(NamedTuple):
    """The probes of a benchmark run."""

    probes: list[Probe]
    left_out: list[str]
    """One line for each group of rows whose requirements are not installed."""
    history: list[Shares]
    """Time profile of each training measurement, the warm-up first."""


def plan(*, agent: bool = False, training: bool = False, full: bool = False) -> Plan:
    """Return the probes to measure; without a choice, the probes of environments and rollouts.

    Args:
        agent: Measure the desk's agent, relative to a step of CartPole.
        training: Measure a PPO training relative to stable-baselines3's defaults, and its time profile.
        full: Measure everything: environments, rollouts, a million episodes of `evaluate`, ten million trades read from a
            file, agent and training.

    Raises:
        MissingExtra: `training` is set and stable-baselines3 is not installed.
    """
    chosen: list[Probe] = []
    lines: list[str] = []
    history: list[Shares] = []
    if full or not (agent or training):
        lines += [left_out("rows with numba are", "numba", "fast")]
        numba = not lines[-1]
        lines += [left_out_by_gymnasium() if numba else "", left_out("the first frame is", "PIL", "plot")]
        chosen += environment_probes(numba, pictures=not lines[-1])
        chosen += [*solver_probes(), *unknown_probes(numba)]
        chosen += rollout_probes() if numba else []
        chosen += command_probes() if numba and full else []
    if full:
        lines += [left_out("reading data is", "pyarrow", "data")]
        chosen += [] if lines[-1] else reading_probes()
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
    """Result of a benchmark; `str` renders the report."""

    rounds: int
    seconds: float
    rows: list[Row]
    profile: Shares | None
    """Percentage of the training time by part, medians over the rounds; None if no training was measured."""
    left_out: list[str]
    """One line for each group of rows whose requirements are not installed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "rows": [{**asdict(row), "reached": row.reached} for row in self.rows]}

    def __str__(self) -> str:
        """Return the table of rows and the time profile."""
        profile = [] if self.profile is None else ["", "where the time of a training by PPO goes"]
        profile += [f"{part:34}{share:6.1f} %" for part, share in (self.profile or {}).items()]
        return "\n".join([report(self.rows), *self.left_out, *profile])


def measure(
    *, agent: bool = False, training: bool = False, full: bool = False, rounds: int = 7, seconds: float = 0.3
) -> Result:
    """Run a benchmark.

    Args:
        agent: See :func:`plan`.
        training: See :func:`plan`.
        full: See :func:`plan`.
        rounds: Number of rounds; each round measures every probe and its reference once.
        seconds: Time per measurement.
    """
    probes, lines, history = plan(agent=agent, training=training, full=full)
    rows = bench(probes, rounds, seconds)
    measured = history[-rounds:]
    profile = {part: median(shares[part] for shares in measured) for part in PARTS} if measured else None
    return Result(rounds, seconds, rows, profile, lines)
