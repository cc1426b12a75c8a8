"""Speed benchmarks, as ratios to a reference measured in the same rounds: `CartPole-v1`, `import gymnasium`, another backend.

Actions are uniform over the whole action space in every row, unless its name says "in step". Episodes therefore end at
different times in different lanes, as with an exploring learner and in gymnasium's own benchmark. Lanes in step always take
action 0, the schedule of the expected volume, so that all lanes end in the same step.

Vector environments run on one thread. Actions are drawn before the timed section. The clock runs during `step` and, with
discrete actions, while `info["action_mask"]` is read; an allowed level is then chosen with the clock stopped. Every lane counts
in every step, including a step that begins its next episode. `benchmark_vector_step` is gymnasium's unmodified function, which
also times the sampling of actions and does not count steps that begin an episode.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import cycle, pairwise
from statistics import median
from time import perf_counter
from typing import Any, Final, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.utils import performance

import hyperexec_env  # noqa: F401 - registers the environment
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.envs.features import observation_space
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.extras import MissingExtra, need
from hyperexec_env.market.basket_scenario import BasketScenario, get_basket
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.venue_scenario import get_venues
from hyperexec_env.progress import progress

__all__ = [
    "ENVIRONMENT",
    "LIMIT",
    "REFERENCE",
    "Probe",
    "Row",
    "bench",
    "check_budget",
    "environment_probes",
    "kind_probes",
    "left_out",
    "left_out_by_gymnasium",
    "report",
    "rollout_probes",
    "single_probe",
    "single_rate",
    "within",
]

ENVIRONMENT: Final = "HyperExec-v0"
REFERENCE: Final = "CartPole-v1"
_BASKET: Final = "HyperExecBasket-v0"
_TOUCH: Final = "HyperExecTouch-v0"
_BASKET_SCENARIO: Final = "basket-hedged"
"""The default basket."""
_VENUES: Final = "HyperExecVenues-v0"
LIMIT: Final = "the limit"
"""Reference of a row whose goal is absolute."""

Measure = Callable[[float], float]
"""Function from the time budget in seconds to the measured value."""
Chooser = Callable[[Any], Any]
"""Function from the mask of allowed levels (or None) to the actions of all lanes."""

_ACTIONS: Final = 512
"""Number of actions of a single environment drawn before the timed section."""
_MIXING: Final = 64
"""Number of untimed steps after which the ends of the lanes are spread over all steps."""
_EPISODES: Final = 1_000_000


class _Goals(NamedTuple):
    """Target ratios to `CartPole-v1` of vector environments."""

    lanes: int
    pace: float
    discrete: float
    sampled: float
    """Target with `benchmark_vector_step`, in which the sampling of actions bounds the ratio."""


_VECTORS: Final = (_Goals(64, 4.0, 3.0, 1.3), _Goals(1_024, 4.0, 2.5, 1.6), _Goals(16_384, 2.0, 1.5, 1.3))
_NUMPY_LANES: Final = 1_000
_BASKET_LANES: Final = 1_024
_BASKET_OF_ONE, _PER_ASSET, _PER_ASSET_OF_MANY = 0.9, 1.3, 2.0
"""Target ratio of the rate of a basket of one asset to that of the asset, and target ratios of the step time of each asset of a
basket of up to ten and of fifty assets to the step time of one asset."""
_ENDING: Final = 1.4
"""Target ratio of the step time of lanes that end at all times to the step time of lanes in step."""

_NOW: Final = "from time import perf_counter as now; start = now(); "
_FIRST_STEP: Final = (
    f"{_NOW}import hyperexec_env, gymnasium; "
    "env = gymnasium.make_vec('HyperExec-v0', num_envs=1_000, backend='numba', num_threads=1); "
    "env.reset(seed=0); env.step(env.action_space.sample()); print(now() - start)"
)
_FIRST_FRAME: Final = (
    "import hyperexec_env, gymnasium; env = gymnasium.make('HyperExec-v0', render_mode='rgb_array'); env.reset(seed=0); "
    f"{_NOW}env.render(); print(now() - start)"
)


@dataclass(frozen=True)
class Row:
    """A measurement and its reference, medians over the rounds."""

    name: str
    rate: float
    unit: str
    reference: float
    """Rate of the reference, in the same unit."""
    ratio: float
    """Median over the rounds of rate / reference within a round."""
    goal: float | None
    """Target of the ratio: a minimum if higher is better, else a maximum; None: no target."""
    better: str
    """"higher" or "lower"."""
    against: str = REFERENCE
    """Name of the reference."""

    @property
    def reached(self) -> bool | None:
        """Whether the ratio reaches its goal."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal


class Probe(NamedTuple):
    """A measurement and its reference measurement."""

    name: str
    unit: str
    goal: float | None
    better: str
    ours: Measure
    reference: Measure
    against: str = REFERENCE
    """Name of the reference."""
    once: bool = False
    """Whether to measure in one round only and without a warm-up, because the measurement takes long."""


def within(name: str, unit: str, limit: float, ours: Measure, once: bool = False) -> Probe:
    """Return a probe with an absolute goal: the reference is the limit, and the goal of the ratio is at most 1."""
    return Probe(name, unit, 1.0, "lower", ours, lambda _: limit, LIMIT, once)


def left_out(what: str, module: str, extra: str) -> str:
    """Return one line that names the missing extra of some rows; "" if the module is installed."""
    try:
        need(module, extra)
    except MissingExtra as error:
        return f"{what} left out: {error}"
    return ""


def left_out_by_gymnasium() -> str:
    """Return one line that reports a gymnasium without `benchmark_vector_step`; "" if it has the function."""
    if hasattr(performance, "benchmark_vector_step"):
        return ""
    return f"rows of benchmark_vector_step are left out: it needs gymnasium 1.4, got {gym.__version__}"


def single_rate(name: str, **options: Any) -> Measure:
    """Return a measurement of a single environment in steps per second; resets are timed and do not count as steps."""
    env = gym.make(name, **options)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(_ACTIONS)]
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


def _per_step(rate: Measure) -> Measure:
    """Return a measurement in microseconds per step, given one in steps per second."""
    return lambda seconds: 1e6 / rate(seconds)


def _uniform(env: Any) -> Chooser:
    """Return a chooser of actions uniform over the whole space; a finite sequence is drawn once and repeated."""
    env.action_space.seed(0)
    actions = cycle([env.action_space.sample() for _ in range(max(16, 32_768 // env.num_envs))])
    return lambda mask: next(actions)


def _uniform_allowed(env: Any) -> Chooser:
    """Return a chooser of discrete actions uniform over the allowed levels: the allowed level with the highest random score."""
    shape = max(16, 32_768 // env.num_envs), env.num_envs, env.single_action_space.n
    scores = cycle(1.0 - np.random.default_rng(0).random(shape, dtype=np.float32))  # in (0, 1]
    return lambda mask: (mask * next(scores)).argmax(axis=1)


def _schedule(env: Any) -> Chooser:
    """Return a chooser of action 0: all lanes follow the schedule and end together."""
    actions = np.zeros(env.action_space.shape, env.action_space.dtype)
    return lambda mask: actions


class _Lanes:
    """A vector environment whose steps alone are timed; it is created at the first measurement."""

    def __init__(self, name: str, lanes: int, chooser: Callable[[Any], Chooser] = _uniform, **options: Any) -> None:
        """Store the id, the number of lanes, the factory of the action chooser, and the options of the environment."""
        self._make = partial(_make, name, lanes, **options)
        self._lanes, self._chooser, self._masked = lanes, chooser, chooser is _uniform_allowed
        self._env: Any = None
        self._choose: Chooser
        self._mask: Any = None

    def rate(self, seconds: float) -> float:
        """Return the steps per second, summed over the lanes."""
        if self._env is None:
            self._begin()
        steps, spent = 0, 0.0
        while spent < seconds:
            spent += self._step()
            steps += 1
        return steps * self._lanes / spent

    def nanoseconds(self, seconds: float) -> float:
        """Return the nanoseconds per step and lane."""
        return 1e9 / self.rate(seconds)

    def _begin(self) -> None:
        self._env = self._make()
        self._choose = self._chooser(self._env)
        self._mask = self._env.reset(seed=0)[1].get("action_mask")
        for _ in range(_MIXING):
            self._step()

    def _step(self) -> float:
        """Step, read the mask, and return the elapsed seconds of both."""
        step, actions = self._env.step, self._choose(self._mask)
        start = perf_counter()
        info = step(actions)[4]
        if self._masked:
            self._mask = info["action_mask"]
        return perf_counter() - start


def _make(name: str, lanes: int, **options: Any) -> Any:
    return gym.make_vec(name, num_envs=lanes, vectorization_mode="vector_entry_point", **options)


def _sampled(name: str, lanes: int, **options: Any) -> Measure:
    """Return a measurement by gymnasium's `benchmark_vector_step`, in steps per second."""
    ready = cache(lambda: _make(name, lanes, **options))
    benchmark: Callable[..., float] = performance.benchmark_vector_step  # annotated for int seconds, accepts any float
    return lambda seconds: benchmark(ready(), target_duration=seconds, seed=0)


def _options(backend: str) -> dict[str, Any]:
    """Return the options for a backend on one thread."""
    return {"backend": backend, "num_threads": 1}


def _rolled(policy: Policy, backend: str) -> Measure:
    """Return a measurement of rollouts in `regime-day`, in slices per second, over at most 10^6 episodes."""
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
    """Return a measurement in seconds, which a program prints in a new process."""

    def measure(_: float) -> float:
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
        return float(done.stdout)

    return measure


def _import_time(module: str) -> Measure:
    """Return a measurement of the import of a module in a new process, in seconds."""
    return _process_time(f"{_NOW}import {module}; print(now() - start)")


def _decision_time() -> Measure:
    """Return a measurement of one action of a network policy (two layers of 64 units), in microseconds."""
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


def _compiled_probes(goals: _Goals) -> list[Probe]:
    """Return the probes of the compiled vector environment with a given number of lanes."""
    lanes, numba, words = goals.lanes, _options("numba"), f"{goals.lanes:,} lanes"
    uniform, in_step = (_Lanes(ENVIRONMENT, lanes, chooser, **numba) for chooser in (_uniform, _schedule))
    discrete = _Lanes(ENVIRONMENT, lanes, _uniform_allowed, action_mode="discrete", **numba)
    cartpole = _Lanes(REFERENCE, lanes)
    probes = [
        Probe(f"make_vec, numba, pace, {words}", "steps/s", goals.pace, "higher", uniform.rate, cartpole.rate),
        Probe(
            f"make_vec, numba, discrete with mask, {words}", "steps/s", goals.discrete, "higher", discrete.rate, cartpole.rate
        ),
    ]
    if not left_out_by_gymnasium():
        sampled = _sampled(ENVIRONMENT, lanes, **numba), _sampled(REFERENCE, lanes)
        probes.append(Probe(f"benchmark_vector_step, numba, pace, {words}", "steps/s", goals.sampled, "higher", *sampled))
    times, ending = (uniform.nanoseconds, in_step.nanoseconds), f"lanes that end at all times, numba, {words}"
    return [
        *probes,
        Probe(ending, "ns/lane", _ENDING, "lower", *times, "lanes in step"),
        Probe(f"lanes in step, numba, {words}", "ns/lane", None, "lower", in_step.nanoseconds, cartpole.nanoseconds),
    ]


def _numpy_probes() -> list[Probe]:
    """Return the probes of the vector environment on the numpy backend."""
    in_step, uniform = (_Lanes(ENVIRONMENT, _NUMPY_LANES, chooser, **_options("numpy")) for chooser in (_schedule, _uniform))
    words, cartpole = f"make_vec, numpy, {_NUMPY_LANES:,} lanes", _Lanes(REFERENCE, _NUMPY_LANES)
    return [
        Probe(f"{words} in step", "steps/s", 0.35, "higher", in_step.rate, cartpole.rate),
        Probe(f"{words} that end at all times", "steps/s", None, "higher", uniform.rate, cartpole.rate),
    ]


def _basket_of(assets: int) -> BasketScenario:
    """Return a basket of some assets: those of the default basket, again and again, with one factor."""
    base = get_basket(_BASKET_SCENARIO).assets
    chosen = tuple(replace(base[i % len(base)], name=f"A{i}") for i in range(assets))
    return BasketScenario(f"basket-of-{assets}", assets=chosen, factors=((0.6,),) * assets)


def _basket_probes(numba: bool) -> list[Probe]:
    """Return the probes of baskets, relative to one asset: the single environment, numpy lanes and compiled lanes.

    The lanes of one asset execute the first asset of the basket alone.
    """
    usual = len(get_basket(_BASKET_SCENARIO).assets)
    one = single_rate(ENVIRONMENT)
    two, many = single_rate(_BASKET, scenario=_basket_of(2)), single_rate(_BASKET)
    probes = [
        Probe(f"basket of {assets} assets", "us/step", goal, "lower", _per_step(ours), _per_step(one), "one asset")
        for assets, goal, ours in ((2, 2 * _PER_ASSET, two), (usual, 10.0, many))
    ]
    for backend, count, sizes in (("numpy", _NUMPY_LANES, (usual,)), ("numba", _BASKET_LANES, (1, 2, usual, 50))):
        if backend == "numba" and not numba:
            continue
        asset = _Lanes(ENVIRONMENT, count, **_options(backend), scenario=_basket_of(1).assets[0])
        for assets in sizes:
            basket = _Lanes(_BASKET, count, **_options(backend), scenario=_basket_of(assets))
            name = f"basket of {assets} asset{'s' * (assets > 1)}, {count:,} {backend} lanes"
            if assets == 1:
                probes.append(Probe(name, "steps/s", _BASKET_OF_ONE, "higher", basket.rate, asset.rate, "one asset"))
            else:
                goal = assets * (_PER_ASSET if assets <= usual else _PER_ASSET_OF_MANY)
                probes.append(Probe(name, "ns/lane", goal, "lower", basket.nanoseconds, asset.nanoseconds, "one asset"))
    return probes


def single_probe(words: str, goal: float | None, against: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Probe:
    """Return the probe of a single environment relative to another; :func:`kind_probes` has the arguments."""
    return Probe(words, "us/step", goal, "lower", _per_step(single_rate(**ours)), _per_step(single_rate(**theirs)), against)


def kind_probes(
    words: str, goal: float | None, against: str, ours: dict[str, Any], theirs: dict[str, Any], numba: bool
) -> list[Probe]:
    """Return the probes of an environment relative to another: the single environment, numpy lanes and compiled lanes.

    Args:
        words: Name of the rows.
        goal: Largest ratio of the step times, or None.
        against: Name of the other environment.
        ours: Its options, with its id as `name`.
        theirs: Those of the other environment.
        numba: Whether to measure compiled lanes.
    """
    probes = [single_probe(words, goal, against, ours, theirs)]
    for backend, count in (("numpy", _NUMPY_LANES), *([("numba", _BASKET_LANES)] if numba else [])):
        here, there = (_Lanes(lanes=count, **_options(backend), **options) for options in (ours, theirs))
        name = f"{words}, {count:,} {backend} lanes"
        probes.append(Probe(name, "ns/lane", goal, "lower", here.nanoseconds, there.nanoseconds, against))
    return probes


def environment_probes(numba: bool, pictures: bool = True) -> list[Probe]:
    """Return the probes of environments, of a policy's action, of the import and of first calls in a new process.

    Args:
        numba: Whether to measure the compiled backend.
        pictures: Whether to measure the first frame of `render()`.
    """
    compiled = zip(*map(_compiled_probes, _VECTORS), strict=True) if numba else ()
    imports = _import_time("hyperexec_env"), _import_time("gymnasium")
    venues, usual = len(get_venues("venues-day").venues), {"name": ENVIRONMENT}
    return [
        Probe("single environment", "steps/s", 1.9, "higher", single_rate(ENVIRONMENT), single_rate(REFERENCE)),
        *(probe for kind in compiled for probe in kind),
        *_numpy_probes(),
        *_basket_probes(numba),
        *kind_probes("child order at the touch", 2.0, "an order of slices", {"name": _TOUCH}, usual, numba),
        *kind_probes(f"{venues} venues", 1.3 * (1.0 + venues), "one venue", {"name": _VENUES}, usual, numba),
        within("decision of a trained policy", "us", 25.0, _decision_time()),
        Probe("import", "s", 1.3, "lower", *imports, against="import gymnasium"),
        *([within("first vector step, warm cache", "s", 0.7, _process_time(_FIRST_STEP))] if numba else []),
        *([within("first frame of render()", "s", 1.0, _process_time(_FIRST_FRAME))] if pictures else []),
    ]


def rollout_probes(policy: Policy) -> list[Probe]:
    """Return the probe of compiled rollouts, relative to rollouts in numpy.

    Args:
        policy: A policy with a rule.
    """
    rates = _rolled(policy, "numba"), _rolled(policy, "numpy")
    return [Probe("rollouts, numba", "slices/s", 13.0, "higher", *rates, "rollouts, numpy")]


def check_budget(rounds: int, seconds: float) -> None:
    """Raise a ValueError if the number of rounds or the time is out of range."""
    check_integer("rounds", rounds, low=1, high=1_000)
    check_number("seconds", seconds, low=0.0, high=60.0, open_low=True)


def bench(probes: Sequence[Probe], rounds: int = 7, seconds: float = 0.3) -> list[Row]:
    """Measure every probe and its reference `rounds` times, and return medians.

    The reference is measured second in even rounds and first in odd rounds. Ratios within a round depend little on the machine
    and its load; rates depend strongly on both.

    Args:
        probes: Measurements and their references.
        rounds: Number of rounds.
        seconds: Time per measurement; a measurement in a new process takes as long as it needs.
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
    """Return the row of a probe from its (measurement, reference) pairs, shape (rounds, 2)."""
    ours, reference, ratio = (float(median(column)) for column in (*pairs.T, pairs[:, 0] / pairs[:, 1]))
    return Row(probe.name, ours, probe.unit, reference, ratio, probe.goal, probe.better, probe.against)


def _number(value: float) -> str:
    """Format a number, without decimals from 100 on."""
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3f}"


def report(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    lines = [f"{'':52}{'here':>13} {'reference':>13} {'':12}{'ratio':>7}{'goal':>8}"]
    for row in rows:
        goal = "" if row.goal is None else f"{'>=' if row.better == 'higher' else '<='} {row.goal:g}"
        mark = {True: "reached", False: "missed", None: ""}[row.reached]
        numbers = f"{_number(row.rate):>13} {_number(row.reference):>13} {row.unit:12}{row.ratio:7.2f}{goal:>8}"
        lines.append(f"{row.name:52}{numbers}  {mark:7}  {row.against}")
    return "\n".join([*lines, f"{REFERENCE} and `import gymnasium` are measured with gymnasium {gym.__version__}"])
