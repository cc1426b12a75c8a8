"""Replay real days: calibrate to the first days of bars, and judge policies on later ones, with our own impact on top.

Price and volume of each slice are those of the bars. The policies see the most likely regime given the earlier returns of the
day, never the future. Intervals come from blocks of days.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import build, option
from hyperexec_env.baselines.replay import Replay, replay
from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions

ORDER = 13.8


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec replay``."""

    bars: tuple[str, ...] = option(meaning="files, folders or patterns of bars", positional=True, file="input")
    policy: tuple[str, ...] = option(("baselines",), "names, groups or folders of policies", file="policy", each=True)
    train: float = option(0.6, "share of the sessions that the market is calibrated to")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")
    half_spread_bps: float | None = option(None, "half of the quoted spread, bps (default: that of a scenario)")
    kyle_lambda: float | None = option(None, "Kyle's lambda, arrival prices for one ADV (default: 25 volatilities)")
    perm_impact_gamma: float | None = option(None, "permanent part of it (default: half of lambda)")
    temp_impact_alpha: float | None = option(None, "temporary impact, volatilities of a day (default: published)")
    resilience: float | None = option(None, "recovery of the transient impact, per day (default: that of public tapes)")


def main(args: Args) -> Replay:
    """Read the bars, calibrate, replay, and return the table."""
    sessions = read_sessions(args.bars, build(Format, args), lenient=True)
    names = ("side", "quantity", "half_spread_bps", "kyle_lambda", "perm_impact_gamma", "temp_impact_alpha", "resilience")
    return replay(sessions, args.policy, args.train, **{name: getattr(args, name) for name in names})
