"""Compare the market of a scenario with real sessions: facts of returns, volume, flow and spread, with errors.

With --trades and --quotes the facts of flow and spread are compared too. A fact misses if simulated and real differ by more
than 2.58 standard errors. With --out the scenario is written with the comparison in its provenance, and its card names the
facts that miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hyperexec_env.arguments import build, option, scenario_option
from hyperexec_env.baselines.realism import Realism, draw_realism, realism
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.data.tape import tape_of
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically

ORDER = 13.7


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec realism``."""

    scenario: str = scenario_option(positional=True)
    data: tuple[str, ...] = option(meaning="files, folders or patterns of bars", file="input")
    trades: tuple[str, ...] = option((), "trades, with --quotes: compare flow and spread too", file="input")
    quotes: tuple[str, ...] = option((), "quotes, with --trades", file="input")
    quotes_tz: str = option("", "time zone of stamps of the quotes without an offset (default: as --tz)")
    out: str | None = option(None, "write the scenario with the comparison, for its card, to this .toml file", file="output")
    picture: str | None = option(None, "draw the differences to this file (png, svg, pdf)", file="output")


def main(args: Args) -> Realism:
    """Read the data, compare, draw the picture if asked for, and return the comparison."""
    if args.picture is not None:
        need("matplotlib", "plot")
    if args.out is not None and not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    if bool(args.trades) != bool(args.quotes):
        raise ValueError("give --trades and --quotes together")
    format = build(Format, args)
    sessions = read_sessions(args.data, format, lenient=True)
    of_quotes = replace(format, tz=args.quotes_tz or args.tz)
    tape = tape_of(read_trades(args.trades, format), read_quotes(args.quotes, of_quotes), format) if args.trades else None
    found = realism(args.scenario, sessions, tape)
    if args.out is not None:
        write_atomically(args.out, found.on_card().to_toml())
    if args.picture is not None:
        draw_realism(found, args.picture)
    return found
