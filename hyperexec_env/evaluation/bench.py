"""Speed, as ratios to what is measured in turns with it in one run: `CartPole-v1`, `import gymnasium`, another backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import gymnasium as gym
import numpy as np

import hyperexec_env  # noqa: F401 - registers the environment
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.envs.features import observation_space
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.progress import progress
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.extras import MissingExtra, need
from hyperexec_env.market.model import build_market
from hyperexec_env.market.scenario import get_scenario

__all__ = [
    "ENVIRONMENT",
    "LIMIT",
    "REFERENCE",
    "Probe",
    "Row",
    "bench",
    "check_budget",
    "environment_probes",
    "left_out",
    "report",
    "rollout_probes",
    "single_rate",
    "within",
]

ENVIRONMENT: Final = "HyperExec-v0"
REFERENCE: Final = "CartPole-v1"
LIMIT: Final = "the limit"
"""What stands for the reference where a goal is absolute."""

Measure = Callable[[float], float]
"""Seconds to spend -> what was measured."""

_ACTIONS: Final = 512
_EPISODES: Final = 1_000_000
_BEST: Final = (1_000, 4_096, 16_384)
"""Numbers of lanes among which the best is looked for."""

# half the reach: paces between 0.4 and 2.4 times the schedule's, so that orders run to their deadline as under a
# sensible policy; full reach: a good part of the orders is complete before, and lanes begin anew at all times
_VECTORS: Final[tuple[tuple[str, int, float, dict[str, float]], ...]] = (
    ("64 lanes", 64, 0.5, {"numba": 7.0}),
    ("1,000 lanes", 1_000, 0.5, {"numba": 4.0, "numpy": 0.6}),
    ("1,000 lanes that end at all times", 1_000, 1.0, {}),
    ("16,384 lanes", 16_384, 0.5, {"numba": 2.5}),
)
"""What it is called, lanes, reach of the actions, and the goals by backend."""

_NOW: Final = "from time import perf_counter as now; start = now(); "
_FIRST_STEP: Final = (
    f"{_NOW}import hyperexec_env, gymnasium; "
    "env = gymnasium.make_vec('HyperExec-v0', num_envs=1_000, backend='numba', num_threads=1); "
    "env.reset(seed=0); env.step(env.action_space.low); print(now() - start)"
)


@dataclass(frozen=True)
class Row:
    """What was measured, beside its reference: medians over the rounds."""

    name: str
    rate: float
    unit: str
    reference: float
    """The same of the reference, in the same unit."""
    ratio: float
    """Median over the rounds of rate / reference of one round."""
    goal: float | None
    """What the ratio should reach (or not exceed); None where nothing is asked."""
    better: str
    """"higher" or "lower"."""
    against: str = REFERENCE
    """What the reference is."""

    @property
    def reached(self) -> bool | None:
        """Whether the ratio reaches its goal."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal


class Probe(NamedTuple):
    """One thing to measure, and how its reference is measured."""

    name: str
    unit: str
    goal: float | None
    better: str
    ours: Measure
    reference: Measure
    against: str = REFERENCE
    """What the reference is."""
    once: bool = False
    """Whether it takes so long that one round has to do, without a warm-up."""


def within(name: str, unit: str, limit: float, ours: Measure, once: bool = False) -> Probe:
    """Return a probe whose goal is absolute: its reference is the limit, and the ratio to it may be 1 at most."""
    return Probe(name, unit, 1.0, "lower", ours, lambda _: limit, LIMIT, once)


def left_out(what: str, module: str, extra: str) -> str:
    """Return one line that says why some rows are not measured; "" where the module that they need is installed."""
    try:
        need(module, extra)
    except MissingExtra as error:
        return f"{what} left out: {error}"
    return ""


def _actions(space: Any, count: int, reach: float = 1.0) -> list[Any]:
    """Draw actions beforehand, so that drawing them is not measured: uniform, within a share of the bounds if they have any."""
    space.seed(0)
    return [
        action if reach == 1.0 else (reach * action).astype(action.dtype) for action in (space.sample() for _ in range(count))
    ]


def single_rate(name: str) -> Measure:
    """Return a measurement of the steps a second of a single environment; its resets count as time, not as steps."""
    env = gym.make(name)
    actions = _actions(env.action_space, _ACTIONS)
    env.reset(seed=0)

    def measure(seconds: float) -> float:
        passes, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            for action in actions:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            passes += 1
        return passes * len(actions) / (perf_counter() - start)

    return measure


def _vector(name: str, lanes: int, reach: float = 1.0, **options: Any) -> Measure:
    """Return a measurement of the steps a second of a vector environment, all lanes counted; it resets lanes by itself."""

    @cache
    def ready() -> tuple[Any, list[Any]]:
        env = gym.make_vec(name, num_envs=lanes, vectorization_mode="vector_entry_point", **options)
        env.reset(seed=0)
        return env, _actions(env.action_space, max(8, min(64, _ACTIONS * 64 // lanes)), reach)

    def measure(seconds: float) -> float:
        env, actions = ready()
        passes, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            for action in actions:
                env.step(action)
            passes += 1
        return passes * len(actions) * lanes / (perf_counter() - start)

    return measure


def _options(backend: str) -> dict[str, Any]:
    """Return the options that ask for a backend, on one thread."""
    return {"backend": backend, "num_threads": 1}


def _best(measures: Sequence[Measure], seconds: float) -> float:
    """Return the highest of some measurements."""
    return max(measure(seconds) for measure in measures)


def _rolled(policy: Policy, backend: str) -> Measure:
    """Return a measurement of the slices a second of rollouts on the default scenario, batch after batch."""
    market = build_market(get_scenario("regime-day"))

    def measure(seconds: float) -> float:
        slices, start = 0, perf_counter()
        for (outcome,) in rollouts(market, [policy], [False], seed=0, episodes=_EPISODES, **_options(backend)):
            slices += market.slices * len(outcome.forced)
            if perf_counter() - start >= seconds:
                break
        return slices / (perf_counter() - start)

    return measure


def _process_time(code: str) -> Measure:
    """Return a measurement of the seconds that some code prints in a fresh process."""

    def measure(_: float) -> float:
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
        return float(done.stdout)

    return measure


def _import_time(module: str) -> Measure:
    """Return a measurement of the seconds that an import takes in a fresh process."""
    return _process_time(f"{_NOW}import {module}; print(now() - start)")


def _decision_time() -> Measure:
    """Return a measurement of the microseconds that a trained policy of two layers of 64 units takes for one observation."""
    rng, space = np.random.default_rng(0), observation_space()
    widths = (*space.shape, 64, 64, 1)
    layers = tuple(
        (rng.normal(0.0, before**-0.5, (after, before)).astype(np.float32), np.zeros(after, np.float32))
        for before, after in pairwise(widths)
    )
    policy = NetworkPolicy("network", layers, "tanh", "clip", "pace", True, 0)
    space.seed(0)
    observations = [space.sample().astype(np.float32) for _ in range(_ACTIONS)]

    def measure(seconds: float) -> float:
        passes, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            for observation in observations:
                policy.action(observation[None])
            passes += 1
        return 1e6 * (perf_counter() - start) / (passes * len(observations))

    return measure


def _vector_probes(backend: str) -> list[Probe]:
    """Return what is measured of the vector environments of a backend."""
    return [
        Probe(
            f"make_vec, {backend}, {what}",
            "steps/s",
            goals.get(backend),
            "higher",
            _vector(ENVIRONMENT, lanes, reach, **_options(backend)),
            _vector(REFERENCE, lanes),
        )
        for what, lanes, reach, goals in _VECTORS
    ]


def environment_probes(numba: bool) -> list[Probe]:
    """Return what is measured of the environments, of a policy's decision and of the import.

    Args:
        numba: Whether the compiled backend is measured too.
    """
    return [
        Probe("single environment", "steps/s", 2.5, "higher", single_rate(ENVIRONMENT), single_rate(REFERENCE)),
        *(_vector_probes("numba") if numba else []),
        *_vector_probes("numpy"),
        within("decision of a trained policy", "us", 25.0, _decision_time()),
        Probe(
            "import", "s", 1.3, "lower", _import_time("hyperexec_env"), _import_time("gymnasium"), against="import gymnasium"
        ),
        *([within("first vector step, warm cache", "s", 0.7, _process_time(_FIRST_STEP))] if numba else []),
    ]


def rollout_probes(policy: Policy) -> list[Probe]:
    """Return what is measured of compiled rollouts: against the compiled vector environment, and against numpy.

    Args:
        policy: What decides; the compiled backend must know it.
    """
    lanes = [_vector(ENVIRONMENT, count, 0.5, **_options("numba")) for count in _BEST]
    ours, best = _rolled(policy, "numba"), partial(_best, lanes)
    return [
        Probe("rollouts, numba, beside make_vec", "steps/s", 2.0, "higher", ours, best, "make_vec, numba, at its best"),
        Probe("rollouts, numba, beside numpy", "steps/s", 7.0, "higher", ours, _rolled(policy, "numpy"), "rollouts, numpy"),
    ]


def check_budget(rounds: int, seconds: float) -> None:
    """Refuse a number of rounds or a time that is out of range."""
    check_integer("rounds", rounds, low=1, high=1_000)
    check_number("seconds", seconds, low=0.0, high=60.0, open_low=True)


def bench(probes: Sequence[Probe], rounds: int = 7, seconds: float = 0.3) -> list[Row]:
    """Measure everything `rounds` times, each thing beside its reference, and return medians.

    Ratios carry from machine to machine and from a quiet hour to a busy one; rates do not.

    Args:
        probes: What to measure.
        rounds: Number of rounds.
        seconds: Time for one measurement (what cannot be cut short takes as long as it takes).
    """
    check_budget(rounds, seconds)
    for probe in probes:
        if not probe.once:
            probe.ours(0.1 * seconds)
            probe.reference(0.1 * seconds)
    found: list[list[tuple[float, float]]] = [[] for _ in probes]
    with progress(sum(1 if probe.once else rounds for probe in probes), "bench") as advance:
        for turn in range(rounds):
            for probe, pairs in zip(probes, found, strict=True):
                if probe.once and turn:
                    continue
                if turn % 2:
                    reference = probe.reference(seconds)
                    pairs.append((probe.ours(seconds), reference))
                else:
                    pairs.append((probe.ours(seconds), probe.reference(seconds)))
                advance(1)
    return [_row(probe, np.array(pairs)) for probe, pairs in zip(probes, found, strict=True)]


def _row(probe: Probe, pairs: Any) -> Row:
    """Return the medians of one probe."""
    ours, reference, ratio = (float(median(column)) for column in (*pairs.T, pairs[:, 0] / pairs[:, 1]))
    return Row(probe.name, ours, probe.unit, reference, ratio, probe.goal, probe.better, probe.against)


def _number(value: float) -> str:
    """Return a number as text, whole where it is large."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3f}"


def report(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [f"{'':52}{'here':>13} {'reference':>13} {'':12}{'ratio':>7}{'goal':>8}"]
    for row in rows:
        goal = "" if row.goal is None else f"{'>=' if row.better == 'higher' else '<='} {row.goal:g}"
        mark = {True: "reached", False: "missed", None: ""}[row.reached]
        numbers = f"{_number(row.rate):>13} {_number(row.reference):>13} {row.unit:12}{row.ratio:7.2f}{goal:>8}"
        lines.append(f"{row.name:52}{numbers}  {mark:7}  {row.against}")
    return "\n".join([*lines, f"{REFERENCE} and `import gymnasium` are those of gymnasium {gym.__version__}"])
