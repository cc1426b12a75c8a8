"""Cost and gain of robustness: policies for the posterior of a measured market beside policies for its point estimate.

    python benchmarks/robust.py benchmarks/spy.toml

Two pairs are judged on the same episodes: the best fixed schedule of the point estimate and that with the least mean over the
draws (computed), and PPO trained in the market of the point estimate and in the draws (with the same seeds and budgets). All
trade in the market of the point estimate and in the markets of the draws; a policy knows the point estimate. Trained policies
are kept in the folder of the results, so that an interrupted run goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hyperexec_env as hx
from hyperexec_env.arguments import option, run_script, scenario_option
from hyperexec_env.baselines.solver.open_loop import best_schedule, build_open_loop
from hyperexec_env.baselines.solver.policies import SchedulePolicy
from hyperexec_env.baselines.solver.problem import build_problem
from hyperexec_env.evaluation.calibration_error import effects_of
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.draws import build_draws
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.training import ppo
from hyperexec_env.training.leaderboard import trained_policy

Floats = NDArray[np.float64]
NORMAL = 1.959964
"""97.5 % quantile of the normal law."""


@dataclass(frozen=True, kw_only=True)
class Args:
    """Options of the comparison."""

    scenario: str = scenario_option("benchmarks/spy.toml", positional=True)
    timesteps: int = option(1_000_000, "slices to trade in each training")
    seeds: int = option(3, "training seeds of each kind of training (0: no training)")
    episodes: int = option(20_000, "episodes in the market of the point estimate")
    draw_episodes: int = option(2_000, "episodes in the market of each draw, the same in every draw")
    seed: int = option(0, "seed of the episodes, which no training meets")
    out: str = option("runs/robust", "folder of the trained policies", file="folder")


class Judged(NamedTuple):
    """Objectives of a policy, bps of the arrival notional."""

    point: Floats
    """In the market of the point estimate, shape (episodes,)."""
    draws: Floats
    """In the markets of the draws, shape (draws, episodes)."""


def schedules(scenario: Scenario) -> tuple[Policy, Policy]:
    """Return the best fixed schedule of the point estimate, and the one with the least mean objective over all draws."""
    point = build_open_loop(build_problem(build_market(scenario)))
    drawn = [build_open_loop(build_problem(build_market(draw))) for draw in draws_of(scenario)]
    found = [best_schedule(*loops)[0] for loops in ([point], drawn)]
    names = "schedule, point estimate", "schedule, posterior"
    left, robust = (SchedulePolicy(each / np.cumsum(each[::-1])[::-1], name) for each, name in zip(found, names, strict=True))
    return left, robust


def trainings(args: Args, scenario: Scenario, uncertainty: bool) -> list[Policy]:
    """Return the policies of the training seeds, trained in the market of the point estimate or in the draws."""
    kind = "posterior" if uncertainty else "point"
    options = ppo.Args(scenario=args.scenario, timesteps=args.timesteps, uncertainty=uncertainty, tensorboard=False)
    found: list[Policy] = []
    for seed in range(args.seeds):
        print(f"PPO, {kind}, training seed {seed}", file=sys.stderr, flush=True)
        folder = str(Path(args.out) / f"{kind}-{seed}")
        found.append(trained_policy(replace(options, seed=seed, out=folder, progress=False), scenario))
    return found


def judge(args: Args, scenario: Scenario, policies: Sequence[Policy]) -> list[Judged]:
    """Roll out policies on the same episodes, in the market of the point estimate and in those of the draws."""
    point, markets = build_market(scenario), build_draws(scenario).markets
    known = _objectives(args, policies, point, args.episodes, None)
    drawn = np.array([_objectives(args, policies, market, args.draw_episodes, point) for market in markets])
    return [Judged(known[at], drawn[:, at]) for at in range(len(policies))]


def _objectives(args: Args, policies: Sequence[Policy], market: Market, count: int, point: Market | None) -> Floats:
    """Return the objective of each policy in the episodes of one market, shape (policies, episodes)."""
    keys = episode_keys(args.seed, np.arange(count), board=True)
    path = draw_path(market, keys, float(market.scenario.side))
    return np.array([roll(market, policy, path, point=point).statement.objective for policy in policies])


def line(name: str, robust: Judged, usual: Judged) -> list[str]:
    """Return the row of a pair: both means and their paired difference, with 95 % intervals, in both kinds of market."""
    cost, gain = robust.point - usual.point, effects_of(robust.draws - usual.draws)
    error = NORMAL * float(cost.std(ddof=1)) / np.sqrt(len(cost))
    mean_error = NORMAL * float(np.hypot(gain.simulation_error, gain.calibration_sd / np.sqrt(len(robust.draws))))
    return [
        name,
        *(f"{float(each.point.mean()):.4f}" for each in (usual, robust)),
        f"{float(cost.mean()):+.4f} [{float(cost.mean()) - error:+.4f}, {float(cost.mean()) + error:+.4f}]",
        *(f"{float(each.draws.mean()):.4f}" for each in (usual, robust)),
        f"{gain.mean:+.4f} [{gain.mean - mean_error:+.4f}, {gain.mean + mean_error:+.4f}]",
        f"[{gain.low:+.4f}, {gain.high:+.4f}]",
    ]


def mean_of(judged: Sequence[Judged]) -> Judged:
    """Return the mean objectives of some training seeds."""
    return Judged(np.mean([each.point for each in judged], axis=0), np.mean([each.draws for each in judged], axis=0))


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown."""
    head = ["pair", "J at the point estimate: usual", "robust", "robust - usual [95 %]"]
    head += ["J over the posterior: usual", "robust", "robust - usual [95 %]", "in a new draw [95 %]"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def compare(args: Args) -> str:
    """Return the report of a scenario."""
    scenario = hx.get_scenario(args.scenario)
    pairs: list[tuple[str, Any, Any]] = [("best fixed schedule", *reversed(schedules(scenario)))]
    robust, usual = (trainings(args, scenario, uncertainty) for uncertainty in (True, False))
    pairs += [(f"PPO, training seed {seed}", *pair) for seed, pair in enumerate(zip(robust, usual, strict=True))]
    judged = judge(args, scenario, [policy for _, *pair in pairs for policy in pair])
    found = [(pair[0], *judged[2 * at : 2 * at + 2]) for at, pair in enumerate(pairs)]
    if args.seeds > 1:
        found.append(("PPO, mean of the seeds", *(mean_of([pair[at] for pair in found[1:]]) for at in (1, 2))))
    return table([line(*pair) for pair in found])


def main(words: Sequence[str]) -> None:
    """Run the comparison and print its table."""
    run_script(__file__, __doc__, Args, compare, words)


if __name__ == "__main__":
    main(sys.argv[1:])
