"""Worth of learning while trading: the desk's algorithms with and without estimates, paired on the same episodes.

    python benchmarks/learning.py                                      # simulated days whose volume level is not known
    python benchmarks/learning.py --bars SPY_1min.csv.gz --train 0.2   # real days after those that calibrate the scenario

Each algorithm trades as it does without estimates ("plain"), with estimates whose prior is the scenario ("learn"), and with a
prior that knows the volume level of the day ("told", which no desk can be). Positive differences are costs. J holds impact,
spread and the price of risk; the noise of prices is left out of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hyperexec_env as hx
from hyperexec_env.arguments import option, run_script, scenario_option
from hyperexec_env.baselines.desk import AgentPolicy
from hyperexec_env.baselines.replay import RESAMPLES, SEED, replay_path
from hyperexec_env.data.blocks import two_way_means
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Path, draw_path
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.progress import progress

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Args:
    """Options of the comparison."""

    scenario: str = scenario_option("regime-day", positional=True)
    algorithms: tuple[str, ...] = option(("VWAP", "POV", "IS", "AC"), "algorithms of the desk")
    level_sd: float = option(0.5, "sd of the log volume level of simulated days")
    risks: tuple[float, ...] = option((1e-7, 1e-6), "prices of risk, 1 / currency")
    episodes: int = option(400, "simulated days")
    seed: int = option(0, "seed of the simulated days")
    bars: str = option("", "bars of real days, in place of simulated ones", file="input")
    train: float = option(0.2, "share of the real days that the scenario is calibrated to")
    purged: int = option(1, "real days between these days and those on which the desk trades")


class Case(NamedTuple):
    """Days on which the desk trades, and what it believes before them."""

    name: str
    market: Market
    path: Path
    prior: Scenario
    levels: Floats
    """Volume of each day over its expectation, shape (days,)."""


def simulated(args: Args) -> Iterator[Case]:
    """Yield days of the scenario in its regimes, and days in one regime, whose volume level varies."""
    base = replace(hx.get_scenario(args.scenario), volume_level_sd=args.level_sd)
    first = base.regimes.names[0]
    for text, regimes in ((f"{len(base.regimes)} regimes", base.regimes), ("1 regime", {"names": (first,)})):
        for risk in args.risks:
            scenario = replace(base, regimes=regimes, risk_aversion=risk)
            market = build_market(scenario)
            path = draw_path(market, episode_keys(args.seed, np.arange(args.episodes)), float(scenario.side))
            yield Case(f"{text}, risk {risk:g}", market, path, scenario, path.world.volume_level[0])


def recorded(args: Args) -> Iterator[Case]:
    """Yield the days after the training days, with the level's sd of the training days in the prior."""
    recording = hx.read_replay(args.bars, train=args.train, validation=0.0, purged=args.purged)
    for risk in args.risks:
        changed = replace(recording, scenario=replace(recording.scenario, risk_aversion=risk))
        before, market = (changed.market(split) for split in ("train", "test"))
        count = len(recording.train.dates)
        if count < 2:
            raise ValueError(f"train must leave at least 2 days with a past for the level of the volume, got {count}")
        spread = float(np.log(levels_of(before, replay_path(before))).std(ddof=1))
        prior = replace(changed.scenario, volume_level_sd=spread)
        path = replay_path(market)
        text = f"{recording.symbol}, {path.keys.size} days, level sd {spread:.2f}, risk {risk:g}"
        yield Case(text, market, path, prior, levels_of(market, path))


def levels_of(market: Market, path: Path) -> Floats:
    """Return the volume of each day over its expectation without regimes, shape (days,)."""
    return np.asarray(path.slices.volume.sum(axis=0) / market.mean_volume[:-1, market.unknown].sum())


def objectives(case: Case, algorithm: str) -> tuple[Floats, Floats, Floats]:
    """Return the objective of each day without estimates, with them, and with the level told; bps, shape (days,)."""
    plain, learn = (
        roll(case.market, AgentPolicy(algorithm, learn=known), case.path).statement.objective for known in (False, case.prior)
    )
    told = np.array([_told(case, algorithm, day) for day in range(len(case.levels))])
    return np.asarray(plain), np.asarray(learn), told


def _told(case: Case, algorithm: str, day: int) -> float:
    """Return the objective of one day with the volume level told."""
    told = replace(case.prior, adv=case.prior.adv * float(case.levels[day]), volume_level_sd=0.0)
    keys = case.path.keys[day : day + 1]
    path = draw_path(case.market, keys, float(case.market.scenario.side))
    return float(roll(case.market, AgentPolicy(algorithm, learn=told), path).statement.objective[0])


def difference(values: Floats, base: Floats) -> str:
    """Return a mean difference with its 95 % interval from blocks of days, in bps, and as a share of the base."""
    away = values - base
    low, high = np.quantile(two_way_means(away[:, None], RESAMPLES, SEED), (0.025, 0.975))
    return f"{away.mean():+.3f} [{low:+.3f}, {high:+.3f}] ({100.0 * away.mean() / base.mean():+.2f} %)"


def compare(args: Args) -> str:
    """Return the table of all cases."""
    cases = list(recorded(args) if args.bars else simulated(args))
    rows: list[list[Any]] = []
    with progress(len(cases) * len(args.algorithms), "learning") as advance:
        for case in cases:
            for algorithm in args.algorithms:
                plain, learn, told = objectives(case, algorithm)
                rows.append([case.name, algorithm, f"{plain.mean():.2f}", difference(learn, plain), difference(told, plain)])
                advance(1)
    return text_table(["days", "algorithm", "J plain", "learn - plain [95 %]", "told - plain [95 %]"], rows)


def main(words: list[str]) -> None:
    """Run the comparison and print its table."""
    run_script(__file__, __doc__, Args, compare, words)


if __name__ == "__main__":
    main(sys.argv[1:])
