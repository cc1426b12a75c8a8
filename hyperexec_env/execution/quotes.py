"""Market data that a desk hears: quotes of symbols, and of the venues of a symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from hyperexec_env.checks import check_number, shown

__all__ = ["Portfolio", "Quote", "VenueQuote", "check_quote", "check_time"]


class VenueQuote(NamedTuple):
    """Market data of one venue of a symbol."""

    bid: float | None = None
    """Best bid, currency per share; None: unknown."""
    ask: float | None = None
    """Best offer, currency per share; None: unknown."""
    bid_size: float | None = None
    """Visible shares at the bid; None: unknown, so no size limits an order."""
    ask_size: float | None = None
    """Visible shares at the offer; None: unknown."""
    share: float | None = None
    """Share of the market volume that the venue has at present; None: the mean share of the venue."""
    ahead: float | None = None
    """Shares before our resting order in its queue; None: unknown."""

    def far(self, side: int) -> float | None:
        """Return the price at which an order of a side takes."""
        return self.ask if side > 0 else self.bid

    def near(self, side: int) -> float | None:
        """Return the price at which an order of a side rests."""
        return self.bid if side > 0 else self.ask

    def far_size(self, side: int) -> float | None:
        """Return the visible shares that an order of a side can take."""
        return self.ask_size if side > 0 else self.bid_size


class Quote(NamedTuple):
    """Market data of a symbol, as the caller provides it."""

    mid: float | None = None
    """Midpoint of the best bid and offer, currency per share; None: unknown."""
    volume_rate: float | None = None
    """Market volume expected from now on, shares a second; None: unknown, so no cap binds (with estimates: their forecast)."""
    volume: float | None = None
    """Market volume of the others since the last quote, shares; None: unknown. For estimates, as the next two."""
    signed_volume: float | None = None
    """Shares that the others bought less those that they sold, as aggressors, since the last quote; None: unknown."""
    spread: float | None = None
    """Quoted spread, ask less bid, currency per share; None: unknown."""
    venues: Mapping[str, VenueQuote] | None = None
    """Quotes of venues by name; None: unknown. An agent with venues takes the best bid and offer over all of them,
    and sends orders to its own."""


Portfolio = Mapping[str, Quote]
"""Quote of each symbol that the agent trades."""

_MAX_SHARES: Final = 1e15
_TAPE: Final = 2, 5
"""Fields of a quote that estimates read."""


def _within(value: float, low: float, high: float) -> bool:
    """Return whether a value is a number between two others: the fast part of a check, whose slow part names the value."""
    try:
        return low < value < high
    except TypeError:
        return False


def check_time(now: float) -> float:
    """Return a time on the agent's clock, seconds; raise ValueError if it is no number."""
    return now if _within(now, -1e15, 1e15) else check_number("now", now, low=-1e15, high=1e15, unit="seconds")


def check_quote(symbol: str, quote: Quote) -> None:
    """Raise ValueError if a value of a quote is out of range; the message names the field and the symbol."""
    mid, rate = quote[:2]
    if mid is not None and not _within(mid, 0.0, 1e9):
        check_number(f"mid of {symbol}", mid, low=0.0, high=1e9, open_low=True)
    if rate is not None and not _within(rate, 0.0, _MAX_SHARES):
        check_number(f"volume_rate of {symbol}", rate, low=0.0, high=_MAX_SHARES)
    if len(quote) > _TAPE[0] and quote[_TAPE[0] :] != _UNKNOWN:
        for name, low in (("volume", 0.0), ("signed_volume", -_MAX_SHARES), ("spread", 0.0)):
            value = getattr(quote, name)
            if value is not None:
                check_number(f"{name} of {symbol}", value, low=low, high=_MAX_SHARES)
        if not isinstance(quote.venues, Mapping | None):
            raise ValueError(f"venues of {symbol} must be a mapping from name to VenueQuote, got {shown(quote.venues)}")
        for venue, own in (quote.venues or {}).items():
            if not isinstance(own, VenueQuote):
                raise ValueError(f"{venue} of {symbol} must be a VenueQuote, got {shown(own)}")
            _check_venue(f"{symbol} in {venue}", own)


def _check_venue(where: str, quote: VenueQuote) -> None:
    """Raise ValueError if a value of the quote of a venue is out of range, or its book is crossed."""
    for name, value in zip(VenueQuote._fields, quote, strict=True):
        if value is not None:
            price = name in ("bid", "ask")
            check_number(f"{name} of {where}", value, low=0.0, high=_HIGH.get(name, _MAX_SHARES), open_low=price)
    if quote.bid is not None and quote.ask is not None and quote.bid > quote.ask:
        raise ValueError(f"ask of {where} must be at least the bid, {quote.bid:g}, got {quote.ask:g}")


_HIGH: Final = {"bid": 1e9, "ask": 1e9, "share": 1.0}
_UNKNOWN: Final = (None,) * (len(Quote._fields) - _TAPE[0])
