"""Replay real days: calibrate to the first days of bars, and judge policies on later ones, with our own impact on top.

Price and volume of each slice are those of the bars. The policies see the most likely regime given the earlier returns of the
day, never the future. Intervals come from blocks of days. With --out, the full sessions are written as prepared days, which
`--replay` of other commands and `hx.make(replay=...)` read.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import build, option
from hyperexec_env.baselines.replay import Replay, replay
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_quotes
from hyperexec_env.data.replay import PURGED, TRAIN, VALIDATION, quoted_spreads, read_days, recording_of, symbol_of, write_days

ORDER = 13.8

ORDER_FIELDS = ("side", "quantity", "half_spread_bps", "kyle_lambda", "perm_impact_gamma", "temp_impact_alpha", "resilience")
"""Options that replace fields of the calibrated scenario."""


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec replay``."""

    bars: tuple[str, ...] = option(meaning="files, folders or patterns of bars", positional=True, file="input")
    policy: tuple[str, ...] = option(("baselines",), "names, groups or folders of policies", file="policy", each=True)
    quotes: tuple[str, ...] = option((), "quotes of the same days, whose spread each slice costs", file="input")
    train: float = option(TRAIN, "share of the sessions that the market is calibrated to")
    validation: float = option(VALIDATION, "share of the sessions on which checkpoints are chosen; the rest is the test")
    purged: int = option(PURGED, "sessions between two parts")
    bound: bool = option(True, "add the best schedule of each day in hindsight")
    out: str = option("", "also write the sessions as prepared days to this file (.parquet)", file="output")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")
    half_spread_bps: float | None = option(None, "half of the quoted spread, bps (default: that of a scenario)")
    kyle_lambda: float | None = option(None, "Kyle's lambda, arrival prices for one ADV (default: 25 volatilities)")
    perm_impact_gamma: float | None = option(None, "permanent part of it (default: half of lambda)")
    temp_impact_alpha: float | None = option(None, "temporary impact, volatilities of a day (default: published)")
    resilience: float | None = option(None, "recovery of the transient impact, per day (default: that of public tapes)")


def main(args: Args) -> Replay:
    """Read the bars, calibrate, replay, and return the table."""
    format = build(Format, args)
    sessions, spreads = read_days(args.bars, format)
    if args.quotes:
        spreads = quoted_spreads(sessions, read_quotes(args.quotes, format))
    if args.out:
        write_days(sessions, spreads, args.out)
    given = {name: getattr(args, name) for name in (*ORDER_FIELDS, "train", "validation", "purged")}
    recording = recording_of(sessions, spreads, symbol=symbol_of(sessions.report.files[0]), **given)
    return replay(recording, args.policy, bound=args.bound)
