"""Calibrate a scenario, or with --basket a basket, to bars of any vendor: csv, txt, zip, gz, json or parquet.

The layout of the files is recognised, bars are split into sessions by a trading calendar, and sessions are checked (order,
gaps, half days, prices, volumes that are a running total of the day). A faulty file is an error that names the line; with
--lenient the faulty session is left out and counted. The scenario records for each parameter how it was estimated, or that it
is the default.

With --basket, each file, folder or pattern holds the bars of one asset: calibrate A.csv B.csv C.csv --basket --out list.toml.
The correlation of 5-minute returns within common sessions is shrunk towards its mean and has a standard error for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import build, option
from hyperexec_env.data.basket_calibration import BasketCalibration, calibrate_basket, read_assets, signed_shares
from hyperexec_env.data.calibration import Calibration, calibration_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.files import write_atomically

ORDER = 13


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec calibrate``."""

    bars: tuple[str, ...] = option(meaning="files, folders or patterns of bars", positional=True, file="input")
    basket: bool = option(False, "calibrate a basket: each file, folder or pattern holds the bars of one asset")
    orders: tuple[str, ...] = option(
        (),
        "with --basket: order of an asset as a share of its ADV, negative to sell, such as AAPL=0.04 or MSFT=-0.02 "
        "(default: buy 0.04)",
        each=True,
    )
    out: str = option(meaning="output file of the scenario, .toml", file="output")
    lenient: bool = option(False, "leave faulty sessions out and count them, instead of failing")
    volume_level: bool = option(False, "let the volume of the day vary from day to day, as measured")
    volume_persistence: bool = option(False, "let the volume persist from slice to slice, as measured: it becomes a signal")
    name: str = option("", "name of the scenario (default: name of the output file)")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")
    slices: int | None = option(None, "number of slices (default: 26)")
    max_participation: float | None = option(None, "participation cap, fraction of the slice volume (default: none)")
    adv: float | None = option(None, "average daily volume, shares; bars that differ 3-fold are refused (default: measured)")
    risk_aversion: float | None = option(None, "price of quadratic variation (default: 2 / notional)")


def main(args: Args) -> Calibration | BasketCalibration:
    """Read and check the bars, calibrate, write the scenario or basket, and return the calibration."""
    if not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    if args.orders and not args.basket:
        raise ValueError("orders must be empty without --basket; pass --side and --quantity for one asset")
    calibration = _of_basket(args) if args.basket else _of_asset(args)
    write_atomically(args.out, calibration.scenario.to_toml())
    return calibration


def _of_asset(args: Args) -> Calibration:
    """Return the calibration of one asset."""
    sessions = read_sessions(args.bars, build(Format, args), lenient=args.lenient, adv=args.adv)
    names = ("side", "quantity", "slices", "max_participation", "risk_aversion", "adv")
    order = {name: getattr(args, name) for name in names}
    name, level, persistence = args.name or Path(args.out).stem, args.volume_level, args.volume_persistence
    return calibration_of(sessions, name, volume_level=level, volume_persistence=persistence, **order)


def _of_basket(args: Args) -> BasketCalibration:
    """Return the calibration of a basket, one asset for each of the paths."""
    for name in ("symbol", "side", "quantity", "adv", "volume_level", "volume_persistence"):
        if getattr(args, name):
            advice = "a basket has --orders by asset" if name in ("side", "quantity") else "a basket does not support it"
            raise ValueError(f"{name} must not be given with --basket, got {getattr(args, name)}: {advice}")
    sessions = read_assets(args.bars, build(Format, args), lenient=args.lenient)
    order = {name: getattr(args, name) for name in ("slices", "max_participation", "risk_aversion")}
    return calibrate_basket(sessions, args.name or Path(args.out).stem, shares=signed_shares(args.orders), **order)
