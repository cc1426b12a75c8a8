"""Speed, as ratios to CartPole-v1 and to `import gymnasium`, measured in turns within one run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import gymnasium as gym
import numpy as np

import hyperexec_env  # noqa: F401 - registers the environment
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.progress import progress

__all__ = ["REFERENCE", "Probe", "Row", "bench", "check_budget", "environment_probes", "report", "single_rate"]

ENVIRONMENT: Final = "HyperExec-v0"
REFERENCE: Final = "CartPole-v1"
_ACTIONS: Final = 512


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
    ours: Callable[[float], float]
    """Seconds to spend -> what was measured."""
    reference: Callable[[float], float]


def _actions(space: Any, count: int, reach: float = 1.0) -> list[Any]:
    """Draw actions beforehand, so that drawing them is not measured: uniform, within a share of the bounds if they have any."""
    space.seed(0)
    return [
        action if reach == 1.0 else (reach * action).astype(action.dtype) for action in (space.sample() for _ in range(count))
    ]


def single_rate(name: str) -> Callable[[float], float]:
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


def _vector(name: str, lanes: int, reach: float = 1.0) -> Callable[[float], float]:
    """Return a measurement of the steps a second of a vector environment, all lanes counted; it resets lanes by itself."""
    env = gym.make_vec(name, num_envs=lanes, vectorization_mode="vector_entry_point")
    actions = _actions(env.action_space, max(8, min(64, _ACTIONS * 64 // lanes)), reach)
    env.reset(seed=0)

    def measure(seconds: float) -> float:
        passes, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            for action in actions:
                env.step(action)
            passes += 1
        return passes * len(actions) * lanes / (perf_counter() - start)

    return measure


def _import_time(module: str) -> Callable[[float], float]:
    """Return a measurement of the seconds that an import takes in a fresh process."""
    code = f"from time import perf_counter as now; start = now(); import {module}; print(now() - start)"

    def measure(_: float) -> float:
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
        return float(done.stdout)

    return measure


def environment_probes() -> list[Probe]:
    """Return what is measured of the environments and of the import."""
    # half the reach: paces between 0.4 and 2.4 times the schedule's, so that orders run to their deadline as under a
    # sensible policy; full reach: a good part of the orders is complete before, and lanes begin anew at all times
    vectors = [
        Probe(name, "steps/s", goal, "higher", _vector(ENVIRONMENT, lanes, reach), _vector(REFERENCE, lanes))
        for name, lanes, reach, goal in (
            ("vector environment, 64 lanes", 64, 0.5, None),
            ("vector environment, 1,000 lanes", 1_000, 0.5, 0.6),
            ("1,000 lanes that end at all times", 1_000, 1.0, None),
            ("vector environment, 16,384 lanes", 16_384, 0.5, None),
        )
    ]
    return [
        Probe("single environment", "steps/s", 2.5, "higher", single_rate(ENVIRONMENT), single_rate(REFERENCE)),
        *vectors,
        Probe("import", "s", 1.3, "lower", _import_time("hyperexec_env"), _import_time("gymnasium")),
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
        seconds: Time for one measurement (imports take as long as they take).
    """
    check_budget(rounds, seconds)
    for probe in probes:
        probe.ours(0.1 * seconds)
        probe.reference(0.1 * seconds)
    found: list[list[tuple[float, float]]] = [[] for _ in probes]
    with progress(rounds * len(probes), "bench") as advance:
        for turn in range(rounds):
            for probe, pairs in zip(probes, found, strict=True):
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
    return Row(probe.name, ours, probe.unit, reference, ratio, probe.goal, probe.better)


def report(rows: list[Row]) -> str:
    """Return the rows as a table."""
    lines = [f"{'':34}{'here':>13} {'reference':>13} {'':8}{'ratio':>7}{'goal':>9}"]
    for row in rows:
        form = ",.0f" if row.rate >= 100.0 else ".3f"
        goal = "" if row.goal is None else f"{'>=' if row.better == 'higher' else '<='} {row.goal:g}"
        mark = {True: "  reached", False: "  missed", None: ""}[row.reached]
        lines.append(f"{row.name:34}{row.rate:13{form}} {row.reference:13{form}} {row.unit:8}{row.ratio:7.2f}{goal:>9}{mark}")
    return "\n".join([*lines, f"reference: {REFERENCE} of gymnasium {gym.__version__}, and `import gymnasium`"])
