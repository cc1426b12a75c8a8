"""Evaluate policies on one scenario.

Prints realised and expected cost, risk, the paired difference to TWAP, and the gap to the optimum, with confidence intervals.
A policy that raises an error, does not return in time or does not return finite shares is shown as failed, with the reason; the
other policies go on, and the exit code is 1.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from hyperexec_env.arguments import changed, option, scenario_option
from hyperexec_env.backends.compiled import BACKENDS, resolve_backend
from hyperexec_env.baselines.evaluate import TIMEOUT, announce, check_evaluation, entrants
from hyperexec_env.baselines.kinds import evaluate
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.store import Store
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.scenarios import get_scenario
from hyperexec_env.workers import check_workers

ORDER = 2


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec evaluate``."""

    scenario: str = scenario_option()
    policy: tuple[str, ...] = option(
        ("all",),
        "names, folders of trained policies, `optimum`, `baselines`, `sanity`, `all`, `desk` or `learn`",
        file="policy",
    )
    episodes: int = option(10_000, "number of episodes, the same for every policy")
    seed: int = option(0, "seed of the board's episodes, which no training meets")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    backend: str = option("auto", "backend of rule policies; auto: numba where it is installed, else numpy", choices=BACKENDS)
    threads: int = option(0, "threads of compiled loops (0: chosen automatically)")
    policy_timeout: float = option(
        TIMEOUT, "seconds that a policy may take for one slice of a batch of episodes, before it has failed (0: no limit)"
    )
    workers: int = option(1, "processes that share the batches of episodes; results do not depend on their number")
    ray: str = option("", "address of a ray cluster that runs the batches instead (extra dist); auto: the one of this machine")
    store: str | None = option(None, "store results in this file, and reuse results that it contains", file="store")


def main(args: Args) -> Any:
    """Return the board of a scenario.

    Raises:
        ValueError: An option is out of range, or the kind of the scenario does not have it.
    """
    scenario = get_scenario(args.scenario)
    if not isinstance(scenario, (Scenario, BasketScenario)):
        options = changed(args, ("optimum", "backend", "threads", "policy_timeout", "workers", "ray", "store"))
        return evaluate(scenario, args.policy, episodes=args.episodes, seed=args.seed, **options)
    policies = entrants(args.policy, scenario)
    check_evaluation(args.episodes, args.seed)
    check_integer("threads", args.threads, low=0, high=256)
    check_number("policy_timeout", args.policy_timeout, low=0.0, high=1e6, unit="s")
    resolve_backend(args.backend)
    check_workers(args.workers, args.ray)
    with nullcontext() if args.store is None else Store(args.store) as store:
        announce(scenario, policies, args.episodes, args.seed, args.policy_timeout)
        return evaluate(
            scenario,
            policies,
            episodes=args.episodes,
            seed=args.seed,
            optimum=args.optimum,
            store=store,
            backend=args.backend,
            threads=args.threads,
            policy_timeout=args.policy_timeout,
            workers=args.workers,
            ray=args.ray,
        )
