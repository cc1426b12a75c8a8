"""Speed of the agent (relative to a step of `CartPole-v1`), of rollouts, of `hyperexec evaluate` and of reading data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.evaluation import bench
from hyperexec_env.evaluation.bench import ENVIRONMENT, REFERENCE, Probe, kind_probes, single_probe, single_rate, within
from hyperexec_env.execution import schedules
from hyperexec_env.execution.agent import ExecutionAgent
from hyperexec_env.execution.children import cut
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder
from hyperexec_env.execution.online import OnlineEstimates
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.market.scenario import UNKNOWNS, Scenario, get_scenario
from hyperexec_env.market.venue import Venue
from hyperexec_env.orders import ParentOrder

from .policies import get_policy
from .solver import solve

__all__ = [
    "Spent",
    "agent_probes",
    "command_probes",
    "reading_probes",
    "rollout_probes",
    "solver_probes",
    "spent_by",
    "unknown_probes",
]

_CHILDREN: Final = 20
_LEARNED: Final = "regime-day"
"""Prior of an agent that learns: six hidden regimes."""
_BATCH: Final = 50
_SOLVED: Final = (("unknown-volume", 5.0), ("unknown-impact", 30.0))
"""Scenarios whose unknowns are solved exactly, and the limits of their time, seconds."""
_ONE, _ALL = 1.15, 1.4
"""Target ratios of the step time with one unknown, and with all four, to that without unknowns."""
_POLICY: Final = "TWAP"
_EPISODES: Final = 1_000_000
_ROLLOUT: Final = f"""
import sys
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.evaluation.rollout import join, rollouts
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.scenario import get_scenario
market, policies = build_market(get_scenario("regime-day")), [get_policy({_POLICY!r})]
join([outcome for outcome, in rollouts(market, policies, [False], seed=0, episodes=int(sys.argv[1]), backend="numba")])
"""
_TRADES: Final = 10_000_000
_BARS: Final = 1_000_000
_EXECUTIONS: Final = 100_000
_PER_ORDER: Final = 20
_WRITE: Final = """
import sys
import numpy as np, pyarrow as pa
from pyarrow import csv, parquet
kind, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
rng, start = np.random.default_rng(0), 1_709_562_600_000_000
def write(name, **columns):
    (csv.write_csv if name.endswith("csv") else parquet.write_table)(pa.table(columns), name)
def stamps(values):
    return pa.array(values, pa.timestamp("us"))
if kind == "trades":
    price = np.round(170.0 + np.cumsum(rng.normal(0.0, 0.001, count)), 2)
    side = np.array(["buy", "sell"])[rng.integers(0, 2, count)]
    time = stamps(start + np.cumsum(rng.integers(0, 4_000, count)))
    write(path, ts=time, price=price, size=rng.integers(1, 1000, count), side=side)
if kind == "bars":
    price = np.round(170.0 + np.cumsum(rng.normal(0.0, 0.01, count)), 2)
    columns = {"open": price, "high": price + 0.02, "low": price - 0.02, "close": price}
    write(path, ts=stamps(start + np.arange(count) * 60_000_000), **columns, volume=np.arange(1, count + 1))
if kind == "fills":  # orders in 100 instruments over 20 sessions, and the bars of these
    minute, day = np.meshgrid(np.arange(390), np.arange(28)[np.arange(28) % 7 < 5], indexing="ij")
    opening = 1_708_957_800_000_000 + (86_400_000_000 * day - 3_600_000_000 * (day >= 14)).T.ravel()  # the clock changes
    bars = np.tile(opening + 60_000_000 * minute.T.ravel(), 100)
    names = np.array([f"S{k:03d}" for k in range(100)])
    flat = np.full(len(bars), 100.0)
    prices = {"open": flat, "high": flat + 0.1, "low": flat - 0.1, "close": flat}
    write(path + ".bars.csv", ts=stamps(bars), symbol=np.repeat(names, len(bars) // 100), **prices, volume=flat * 10.0)
    order = np.arange(count) // 20
    first = opening.reshape(20, 390)[order % 20, 0] + 60_000_000 * (order % 300)
    time = stamps(first + 30_500_000 * (np.arange(count) % 20))
    words = {"symbol": names[order % 100], "side": np.full(count, "B"), "order_id": order, "exec_id": np.arange(count)}
    write(path, ts=time, quantity=np.full(count, 100.0), price=np.full(count, 100.05), **words)
"""
_READ: Final = """
import sys
from hyperexec_env.baselines.blotter import tca_blotter
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_trades
kind, path = sys.argv[1], sys.argv[3]
if kind == "fills":
    tca_blotter(path, path + ".bars.csv", format=Format(tz="UTC"))
else:
    {"bars": read_bars, "trades": read_trades}[kind](path, Format(calendar="24/7"))
"""
_MEASURE: Final = """
import resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def _parent() -> ParentOrder:
    return ParentOrder(symbol="X", side=1, quantity=10_007, arrival_price=150.0)


def _process_time(seconds: float) -> float:
    """Return the mean time of a `process()` call that cuts an order into 20 hidden children, microseconds."""
    spent, calls = 0.0, 0
    while spent < seconds:
        agent = ExecutionAgent(seed=0)
        agent.start()
        agent.process({"X": Quote(150.0, 200.0)}, "CRISIS")
        for parent in [_parent() for _ in range(_BATCH)]:
            agent.submit_order(parent)
            start = perf_counter()
            children = agent.process({"X": Quote(150.0, 200.0)}, "CRISIS")
            spent += perf_counter() - start
            if len(children) != _CHILDREN:
                raise RuntimeError(f"process must make {_CHILDREN} children, got {len(children)}")
        calls += _BATCH
    return 1e6 * spent / calls


def _learning_time(seconds: float) -> float:
    """Return the mean time of a `process()` call that ends a bin of the estimates and plans an order anew, microseconds."""
    spent, calls = 0.0, 0
    while spent < seconds:
        estimates = OnlineEstimates(_LEARNED)
        agent = ExecutionAgent(seed=0, estimates={"X": estimates})
        agent.start()
        parent = ParentOrder(symbol="X", side=1, quantity=10_007, arrival_price=150.0, deadline=23_400.0, algorithm="AC")
        agent.submit_order(parent, 0.0)
        agent.process({"X": Quote(150.0)}, now=0.0)
        for number in range(1, estimates.bins - 1):
            quote, now = Quote(150.0 + 0.1 * (number % 3), None, 2e5, 1e4, 0.03), number * estimates.bin_seconds
            start = perf_counter()
            children = agent.process({"X": quote}, now=now)
            spent += perf_counter() - start
            calls += 1
            if not children:
                raise RuntimeError("process must plan the order anew at the end of a bin")
    return 1e6 * spent / calls


def _routing_time(seconds: float) -> float:
    """Return the mean time of a `route()` call that splits a child over four venues, two of them hidden, microseconds."""
    venues = (
        Venue("primary", "home", share=0.6, fee=0.003),
        Venue("inverted", "lit", share=0.4, fee=-0.001),
        Venue("pool", "dark", fee=0.001),
        Venue("touch", "rest", fee=-0.002),
    )
    rates, sizes = FillRates(), np.random.default_rng(0).choice([0.0, 0.01, 0.03], 1_000)
    for venue in ("pool", "touch"):
        for size in sizes.tolist():
            rates.tell("X", venue, HiddenOrder(size, False, 1.0, False))
    rates.frozen = True
    spent, calls = 0.0, 0
    while spent < seconds:
        config = ExecutionConfig(algorithm="TWAP", slices=_CHILDREN, max_participation_rate=None)
        agent = ExecutionAgent(config, seed=0, venues=venues, fill_rates=rates)
        agent.start()
        agent.submit_order(_parent(), 0.0)
        agent.process({"X": Quote(150.0, 200.0)}, now=0.0)
        while (child := agent.get_next_child(299.0)) is not None:
            start = perf_counter()
            routing = agent.route(child, 0.0)
            spent += perf_counter() - start
            calls += 1
            if not routing.orders:
                raise RuntimeError("route must split the child")
    return 1e6 * spent / calls


def _call_time(call: Callable[[], Any], seconds: float) -> float:
    """Return the mean time of a call, loop overhead included, microseconds."""
    calls, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        for _ in range(_BATCH):
            call()
        calls += _BATCH
    return 1e6 * (perf_counter() - start) / calls


def agent_probes() -> list[Probe]:
    """Return the probes of the agent, in microseconds; the reference is the time of one `CartPole-v1` step, or the limit."""
    agent = ExecutionAgent(seed=0)
    agent.start()
    parent, rng, weights = _parent(), np.random.default_rng(0), schedules.twap(_CHILDREN)

    def status() -> None:
        agent._status = None  # the agent caches its status until something changes
        agent.status  # noqa: B018 - the property is measured

    calls: list[tuple[str, float, Callable[[float], float]]] = [
        ("process() that makes 20 children", 20.0, _process_time),
        (
            "generation of 20 hidden children",
            5.0,
            partial(_call_time, lambda: cut(parent, int(parent.quantity), 0.0, 300.0, weights, factor=0.3, rng=rng)),
        ),
        ("impact estimate", 0.2, partial(_call_time, lambda: agent.estimate_impact(10_000, 150.0, 0.02, 64_000.0, 5e6))),
        ("status", 0.1, partial(_call_time, status)),
    ]
    steps = single_rate(REFERENCE)
    limit = agent.config.max_latency_us
    return [
        *(Probe(name, "us", goal, "lower", ours, lambda seconds: 1e6 / steps(seconds)) for name, goal, ours in calls),
        within("process() that learns from a bin and plans anew", "us", limit, _learning_time),
        within("route() of a child over four venues", "us", limit, _routing_time),
    ]


def _solve_time(name: str) -> Callable[[float], float]:
    """Return a measurement of the time to solve a scenario, seconds."""

    def measure(seconds: float) -> float:
        solved, start = 0, perf_counter()
        while not solved or perf_counter() - start < seconds:
            solve(name, cached=False)
            solved += 1
        return (perf_counter() - start) / solved

    return measure


def solver_probes() -> list[Probe]:
    """Return the probes of solvers: an exact table, ten assets with six regimes, and what an episode does not tell."""
    quick = [within(f"optimum of {name}", "s", 1.0, _solve_time(name)) for name in ("touch-5min", "basket-day")]
    return [*quick, *(within(f"optimum of {name}", "s", limit, _solve_time(name), once=True) for name, limit in _SOLVED)]


def unknown_probes(numba: bool) -> list[Probe]:
    """Return the probes of environments that observe beliefs, relative to the same market without unknowns, or without beliefs.

    Args:
        numba: Whether to measure compiled lanes.
    """
    volume, drift, impact = map(get_scenario, ("unknown-volume", "unknown-drift", "unknown-impact"))
    every = replace(get_scenario("unknown-all"), name="all-unknown", kyle_sd=0.5)
    hidden = {"name": ENVIRONMENT, "scenario": _LEARNED, "observe_regime": False}
    law = "probabilities of a hidden regime", None, "a hidden regime", {**hidden, "observe_beliefs": True}, hidden
    return [
        *kind_probes("unknown volume and its belief", _ONE, *_with_and_without(volume), numba),
        single_probe("unknown drift and its belief", _ONE, *_with_and_without(drift)),
        single_probe("unknown impact and its belief", _ONE, *_with_and_without(impact)),
        *kind_probes("four unknowns and their beliefs", _ALL, *_with_and_without(every), numba),
        *kind_probes(*law, numba),
    ]


def _with_and_without(scenario: Scenario) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the name of the reference, and the options of a scenario with its beliefs and of that without its unknowns."""
    known = replace(scenario, **dict.fromkeys(UNKNOWNS, 0.0))  # type: ignore[arg-type]
    shown = {"name": ENVIRONMENT, "scenario": scenario, "observe_beliefs": True}
    return "nothing unknown", shown, {"name": ENVIRONMENT, "scenario": known}


def rollout_probes(episodes: int = _EPISODES) -> list[Probe]:
    """Return the probes of compiled rollouts: the rate relative to numpy, and the peak memory of a run that holds all outcomes.

    Args:
        episodes: Number of episodes of the memory probe.
    """
    command = [sys.executable, "-c", _ROLLOUT, str(episodes)]
    memory = within(
        f"rollouts, numba, {episodes:,} episodes, memory", "GB", 1.0, lambda _: spent_by(command).gigabytes, once=True
    )
    return [*bench.rollout_probes(get_policy(_POLICY)), memory]


class Spent(NamedTuple):
    """Wall time and peak memory of a command."""

    seconds: float
    gigabytes: float
    """Peak resident memory, 10^9 bytes."""


def spent_by(command: list[str]) -> Spent:
    """Run a command in a new process and return its wall time and peak memory.

    A small intermediate process starts the command, because `ru_maxrss` of a forked child includes the memory of its parent.

    Raises:
        RuntimeError: The command failed; the message contains its standard error.
    """
    done = subprocess.run([sys.executable, "-c", _MEASURE, *command], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    seconds, peak = map(float, done.stdout.split())
    return Spent(seconds, peak * (1.0 if sys.platform == "darwin" else 1024.0) / 1e9)


def _evaluate_command(backend: str, episodes: int) -> list[str]:
    """Return the command line that evaluates TWAP."""
    words = ["evaluate", "--policy", _POLICY, "--episodes", str(episodes), "--no-optimum", "--backend", backend]
    return [sys.executable, "-m", "hyperexec_env.cli", *words]


def command_probes(episodes: int = _EPISODES) -> list[Probe]:
    """Return the probes of `hyperexec evaluate --policy TWAP`: the rate relative to numpy, and the peak memory.

    Args:
        episodes: Number of episodes of each run.
    """

    @cache
    def spent(backend: str) -> Spent:
        spent_by(_evaluate_command(backend, 2))  # warms the cache of compiled code
        return spent_by(_evaluate_command(backend, episodes))

    def rate(backend: str, _: float) -> float:
        return episodes / spent(backend).seconds

    name, ours, numpy = f"evaluate, {episodes:,} episodes", partial(rate, "numba"), partial(rate, "numpy")
    return [
        Probe(name, "episodes/s", None, "higher", ours, numpy, "--backend numpy", once=True),
        within(f"{name}, memory", "GB", 1.0, lambda _: spent("numba").gigabytes, once=True),
    ]


def reading_probes(share: float = 1.0) -> list[Probe]:
    """Return the probes of reading large files in a new process: wall time and peak memory.

    Args:
        share: Share of the rows of the files, which are written to a temporary folder; at least one order of the blotter.
    """
    trades, bars = max(1, round(share * _TRADES)), max(1, round(share * _BARS))
    fills = _PER_ORDER * max(1, round(share * _EXECUTIONS / _PER_ORDER))
    return [
        *_reading(f"reading {trades:,} trades of csv", "trades", trades, "csv", 60.0),
        *_reading(f"reading {trades:,} trades of parquet", "trades", trades, "parquet", 60.0),
        *_reading(f"reading {bars:,} bars of csv", "bars", bars, "csv", 10.0),
        *_reading(f"reading {bars:,} bars of parquet", "bars", bars, "parquet", 10.0),
        *_reading(f"tca of {fills:,} executions", "fills", fills, "csv", 30.0),
    ]


def _reading(name: str, kind: str, rows: int, form: str, limit: float) -> list[Probe]:
    """Return the probes of one file: seconds below a limit, and memory below 1 GB."""

    @cache
    def spent() -> Spent:
        with TemporaryDirectory() as folder:
            words = [kind, str(rows), f"{folder}/data.{form}"]
            spent_by([sys.executable, "-c", _WRITE, *words])
            return spent_by([sys.executable, "-c", _READ, *words])

    return [
        within(name, "s", limit, lambda _: spent().seconds, once=True),
        within(f"{name}, memory", "GB", 1.0, lambda _: spent().gigabytes, once=True),
    ]
