"""Measure the speed against CartPole-v1 in the same run: of the environments, or with --agent of the desk's agent."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np

from baselines.evaluate import show
from hyperexec_env.arguments import option
from hyperexec_env.evaluation.bench import (
    REFERENCE,
    Probe,
    bench,
    check_budget,
    environment_probes,
    report,
    single_rate,
)
from hyperexec_env.execution import schedules
from hyperexec_env.execution.agent import ExecutionAgent, Quote
from hyperexec_env.execution.children import cut
from hyperexec_env.files import check_target
from hyperexec_env.orders import ParentOrder

__all__ = ["Args", "agent_probes", "main"]

_CHILDREN: Final = 20
_BATCH: Final = 50


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec bench``."""

    agent: bool = option(False, "measure the desk's agent, in steps of CartPole")
    rounds: int = option(7, "rounds; in each, everything is measured once, beside its reference")
    seconds: float = option(0.3, "time for one measurement, seconds")
    json: str | None = option(None, "write the numbers as JSON to this file (without a file: to standard output)")


def _parent() -> ParentOrder:
    return ParentOrder(symbol="X", side=1, quantity=10_007, arrival_price=150.0)


def _process(seconds: float) -> float:
    """Return the microseconds of a `process` that cuts an order into twenty hidden children."""
    spent, calls = 0.0, 0
    while spent < seconds:
        agent = ExecutionAgent(seed=0)
        agent.start()
        agent.process({"X": Quote(150.0, 200.0)}, "CRISIS")
        for parent in [_parent() for _ in range(_BATCH)]:
            agent.submit_order(parent)
            start = perf_counter()
            made = agent.process({"X": Quote(150.0, 200.0)}, "CRISIS")
            spent += perf_counter() - start
            if len(made) != _CHILDREN:
                raise RuntimeError(f"process must make {_CHILDREN} children, got {len(made)}")
        calls += _BATCH
    return 1e6 * spent / calls


def _each(call: Callable[[], Any], seconds: float) -> float:
    """Return the microseconds of a call, the loop around it included."""
    calls, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        for _ in range(_BATCH):
            call()
        calls += _BATCH
    return 1e6 * (perf_counter() - start) / calls


def agent_probes() -> list[Probe]:
    """Return what is measured of the agent, in microseconds, beside one step of CartPole."""
    agent = ExecutionAgent(seed=0)
    agent.start()
    parent, rng, weights = _parent(), np.random.default_rng(0), schedules.twap(_CHILDREN)

    def status() -> None:
        agent._status = None  # as after a change: the status is kept until something changes
        agent.status  # noqa: B018 - a property that is measured

    calls: list[tuple[str, float, Callable[[float], float]]] = [
        ("process() that makes 20 children", 20.0, _process),
        (
            "generation of 20 hidden children",
            5.0,
            partial(_each, lambda: cut(parent, parent.quantity, 0.0, 300.0, weights, factor=0.3, rng=rng)),
        ),
        ("impact estimate", 0.2, partial(_each, lambda: agent.estimate_impact(10_000, 150.0, 0.02, 64_000.0, 5e6))),
        ("status", 0.1, partial(_each, status)),
    ]
    steps = single_rate(REFERENCE)
    return [Probe(name, "us", goal, "lower", ours, lambda seconds: 1e6 / steps(seconds)) for name, goal, ours in calls]


def main(args: Args) -> dict[str, Any]:
    """Measure, print, and return the numbers."""
    check_target(args.json)
    check_budget(args.rounds, args.seconds)
    rows = bench(agent_probes() if args.agent else environment_probes(), args.rounds, args.seconds)
    numbers = {"rounds": args.rounds, "seconds": args.seconds, "rows": [asdict(row) for row in rows]}
    show(report(rows), json_format.dumps(numbers, indent=2) + "\n", args.json)
    return numbers
