"""Check files of market data: what was recognised, which sessions can be used, and why others can not.

The data are bars, trades, quotes or messages of a limit order book, of any vendor: csv, txt, zip, gz, json or parquet. The
exit code is 1 if the data cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import build, option
from hyperexec_env.data.format import Format
from hyperexec_env.data.inspection import KINDS, Inspection, inspect_data
from hyperexec_env.data.picture import draw_data
from hyperexec_env.extras import need

ORDER = 12.5


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec data check``."""

    files: tuple[str, ...] = option(meaning="files, folders or patterns of data", positional=True, file="input")
    kind: str = option("", "what the data are (default: determined)", choices=KINDS)
    adv: float | None = option(None, "average daily volume, shares, which the data must agree with")
    picture: str | None = option(None, "draw price and volume by session to this file (png, svg, pdf)", file="output")


def main(args: Args) -> Inspection:
    """Inspect the data, draw the picture if asked for, and return the inspection."""
    if args.picture is not None:
        need("matplotlib", "plot")
    found = inspect_data(args.files, build(Format, args), args.kind, args.adv)
    if args.picture is not None:
        draw_data(found, args.picture)
    return found
