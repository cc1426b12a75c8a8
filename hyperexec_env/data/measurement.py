"""Measure a market: spread, impact and flow from the tape, and the scenario that holds them with their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hyperexec_env.market.published import ALMGREN_2005, PUBLIC_TAPES, public_impact
from hyperexec_env.market.scenario import Scenario

from .aggregate import bars_of_trades
from .calibration import Calibration, calibrate
from .draws import public_draws, with_draws, with_order_draws, with_tape_draws
from .format import Format
from .impact import (
    Decay,
    Figure,
    Response,
    Spell,
    Spreads,
    by_volatility,
    decay_of,
    response_of,
    spreads_of,
    volatility_of,
    volatility_seconds,
)
from .numbers import rounded
from .sessions import sessions_of
from .tables import Bars, Book, Quotes, Trades
from .tape import Tape, tape_of, tape_of_book
from .temporary import Orders, Temporary, with_orders

__all__ = ["ALMGREN_2005", "PUBLIC_TAPES", "Assumed", "Measurement", "assume_impact", "measure", "precise"]

SCALES: Final = (10.0, 60.0, 300.0, 900.0)
"""Scales of the regression of moves on flow, seconds; the last one is the slice of the default order."""
PRECISE: Final = 0.25
"""Relative standard error up to which lambda at the scale of a slice is used; above it, lambda of the next shorter scale."""


@dataclass(frozen=True)
class Measurement:
    """What a tape says about a market; ``print`` shows it as text."""

    tape: Tape
    spreads: Spreads
    volatility: Figure
    """Fraction per square root of a day."""
    responses: tuple[Response, ...]
    """Response to flow at each of :data:`SCALES`."""
    halves: tuple[Spell, ...]
    """Spread, and response at a minute, in the calmer and in the more volatile half; empty for a tape below two hours."""
    decay: Decay
    scenario: Scenario
    moved: tuple[str, ...]
    """One sentence for each number that was changed to make the parts consistent, or not taken from the tape."""
    temporary: Temporary | None = None
    """Temporary impact of the desk's own orders; None without fills."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; a resilience without a bound has null in its place."""
        return {
            "files": list(self.tape.files),
            "days": list(self.tape.dates),
            "adv": self.tape.adv,
            "signed_by": self.tape.signed_by,
            "left_out": self.tape.left_out,
            "spreads": to_plain(self.spreads),
            "volatility": to_plain(self.volatility),
            "responses": [to_plain(response) for response in self.responses],
            "by_volatility": [
                {
                    **to_plain(half),
                    "half_spread_volatilities": half.half_spread_volatilities,
                    "lambda_volatilities": half.lambda_volatilities,
                }
                for half in self.halves
            ],
            "decay": to_plain(self.decay),
            "temporary": self.temporary and to_plain(self.temporary),
            "moved": list(self.moved),
            "scenario": self.scenario.to_dict(),
        }

    def __str__(self) -> str:
        """Return the measurement as text."""
        tape, spreads, decay = self.tape, self.spreads, self.decay
        names = ", ".join(Path(file).name for file in tape.files)
        trades = sum(len(day.side) for day in tape.days)
        lines = [
            f"{len(tape.dates)} sessions, {tape.dates[0]} to {tape.dates[-1]}, of {names}",
            f"{trades:,} trades, signed by {tape.signed_by}; {tape.left_out:,} left out (auctions, blocks, off the market)",
            *tape.choices,
            "",
            f"volume a day {tape.adv:,.0f}, volatility {self.volatility.value:.2%} +- {self.volatility.error:.2%} a day",
            f"half-spread [bps]: quoted {spreads.quoted}, effective {spreads.effective}",
            "  by half-hours: " + " ".join("-" if math.isnan(value) else f"{value:.2f}" for value in spreads.by_time),
            "response of the mid to signed flow (lambda in arrival prices, and in daily volatilities, for one ADV)",
            "   scale       lambda  (robust)  volatilities    R^2     flow AR(1)",
        ]
        for item in self.responses:
            multiple = item.kyle_lambda.value / self.volatility.value
            lines.append(
                f"  {item.seconds:4g} s  {item.kyle_lambda!s:>15}  ({item.robust_error:.2g})  {multiple:8.1f}"
                f"  {item.r_squared:9.2f}  {item.persistence!s:>15}"
            )
        for name, half in zip(("calm", "volatile"), self.halves, strict=False):
            lines.append(
                f"{name} half: volatility {half.volatility:.2%} a day, half-spread {half.half_spread} bps "
                f"({half.half_spread_volatilities:.2g} volatilities), lambda at {half.response.seconds:g} s "
                f"{half.response.kyle_lambda} ({half.lambda_volatilities:.1f} volatilities)"
            )
        bound = "no upper bound" if math.isinf(decay.high) else f"{decay.high:.0f}"
        state = "identified" if decay.identified else "not identified"
        temporary = self.temporary or "temporary impact is the published one: it needs a desk's own fills (--fills)"
        lines += [
            f"permanent part {decay.gamma}, transient part {decay.transient} (intervals of {decay.seconds:g} s)",
            f"resilience {decay.resilience:.0f} a day, 95 % interval {decay.low:.0f} to {bound}: {state}",
            str(temporary),
            "",
            *self.moved,
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Assumed:
    """A scenario from bars, whose impact is that of public tapes at the volatility of the bars; ``print`` shows it as text."""

    calibration: Calibration
    scenario: Scenario
    temporary: Temporary | None = None
    """Temporary impact of the desk's own orders; None without fills."""
    moved: tuple[str, ...] = ()
    """One sentence for each number of the orders that was changed or not taken."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            **self.calibration.to_dict(),
            "temporary": self.temporary and to_plain(self.temporary),
            "moved": list(self.moved),
            "scenario": self.scenario.to_dict(),
        }

    def __str__(self) -> str:
        """Return the calibration and what was assumed."""
        names = (*PUBLIC_TAPES, *ALMGREN_2005)
        lines = [f"{name} = {getattr(self.scenario, name):g}: {self.scenario.provenance[name]}" for name in names]
        own = [str(self.temporary), *self.moved] if self.temporary else []
        return "\n".join([str(self.calibration), *own, "bars do not identify impact; assumed:", *lines])


def assume_impact(calibration: Calibration, orders: Orders | None = None) -> Assumed:
    """Return a calibrated scenario with the impact of public tapes, scaled by its volatility, and published temporary impact.

    Kyle's lambda goes with volatility: in daily volatilities for one ADV it lies between 17 and 36 on public tapes, in arrival
    prices it differs by a factor of three.
    """
    values, texts = public_impact()
    scenario = calibration.scenario
    made = replace(scenario, **values, provenance={**scenario.provenance, **texts})
    made = with_draws(made, public_draws(), scenario.provenance["posterior"])
    if orders is None:
        return Assumed(calibration, made)
    made, temporary, moved = with_orders(made, orders, is_measured=False)
    return Assumed(calibration, with_order_draws(made, temporary), temporary, moved)


def measure(
    source: Trades | Book,
    quotes: Quotes | None = None,
    format: Format | None = None,
    *,
    bars: Bars | None = None,
    orders: Orders | None = None,
    adv: float | None = None,
    name: str = "measured",
    volume_persistence: bool | float = False,
    **order: Any,
) -> Measurement:
    """Measure spread, impact and flow of a market from its tape, and return a scenario that holds them with their errors.

    The scenario is calibrated to `bars` (or to one-minute bars of the trades), see
    :func:`~hyperexec_env.data.calibration.calibrate`; spread, lambda, gamma, resilience, flow share and flow persistence come
    from the tape. Temporary impact cannot be seen in the tape of others: it is that of `orders`, or has the published values of
    Almgren et al. (2005). The posterior holds joint draws of all of them but the flow persistence
    (:mod:`~hyperexec_env.data.draws`).

    Args:
        source: The trades, or a limit order book.
        quotes: The best bids and offers; not needed for a book.
        format: Calendar and hours.
        bars: Bars of a longer time, for volume, volatility and regimes.
        orders: A desk's own orders, for temporary impact.
        adv: Average daily volume, shares; needed for a tape that covers only a part of its sessions.
        name: Name of the scenario.
        volume_persistence: Whether the scenario has the persistence of the volume that the bars have, or a number, as in
            :func:`~hyperexec_env.data.calibration.calibrate`.
        **order: Fields that override those of the scenario, such as ``quantity``.

    Raises:
        ValueError: Trades and quotes share no session, there is no signed flow, a field in `order` is invalid, or the
            persistence of the volume is requested without two sessions.
        MissingExtra: The extra `data` is not installed.
    """
    format = format or Format()
    if isinstance(source, Book):
        tape = tape_of_book(source, format, adv)
    elif quotes is None:
        raise ValueError("quotes must be given with trades: without them neither spread nor impact can be measured")
    else:
        tape = tape_of(source, quotes, format, adv)
    _check_moves(tape)
    spreads, volatility, decay = spreads_of(tape), volatility_of(tape), decay_of(tape)
    span = sum((day.end - day.start) for day in tape.days) / 1e9
    responses = tuple(response_of(tape, seconds) for seconds in SCALES if seconds * 10 <= span)
    if not responses:
        raise ValueError(f"the tape is {span:.0f} s long; at least {10 * SCALES[0]:g} s are needed")
    halves = by_volatility(tape) if span >= 7200.0 else ()
    base = _base(source, tape, volatility, format, bars, name, {**order, "volume_persistence": volume_persistence})
    if not isinstance(volume_persistence, bool):
        order["volume_persistence"] = volume_persistence
    scale = base.volatility if bars is None else volatility.value
    fields, texts, moved = _fields(tape, spreads, responses, decay, scale)
    if bars is not None:
        moved.append(
            f"impact is scaled from the volatility of the tape ({scale:.2%} a day) to that of the bars ({base.volatility:.2%})"
        )
    given = {key: value for key, value in order.items() if value is not None}
    provenance = {**base.provenance, **texts, **dict.fromkeys(given, "given")}
    scenario, temporary = replace(replace(base, **fields), **given, provenance=provenance), None
    scenario = with_tape_draws(scenario, tape, precise(responses).seconds, decay, volatility.value, scale, given)
    if orders is not None:
        scenario, temporary, more = with_orders(scenario, orders, is_measured=True)
        scenario = with_order_draws(scenario, temporary)
        moved += more
    return Measurement(tape, spreads, volatility, responses, halves, decay, scenario, tuple(moved), temporary)


def _check_moves(tape: Tape) -> None:
    """Raise ValueError if the mid of a tape never moves, or if all of its trades have one side."""
    names = ", ".join(tape.files)
    if all((day.mid == day.mid[0]).all() for day in tape.days):
        raise ValueError(f"{names}: the mid of the quotes never moves: neither impact nor volatility can be measured")
    sides = {side for day in tape.days for side in day.side.tolist()}
    if len(sides) == 1:
        raise ValueError(
            f"{names}: all trades are {'buys' if sides == {1} else 'sells'}; name the column of the aggressor's "
            "side with --columns side=NAME"
        )


def _base(
    source: Trades | Book, tape: Tape, volatility: Figure, format: Format, bars: Bars | None, name: str, order: dict[str, Any]
) -> Scenario:
    """Return the scenario that the measured numbers are put into: calibrated to bars, if there are two sessions of them."""
    if bars is None and isinstance(source, Trades) and len(tape.dates) >= 2:
        bars = bars_of_trades(source)
    if bars is not None:
        return calibrate(sessions_of(bars, format, lenient=True), name, **order)
    if order["volume_persistence"] is True:
        raise ValueError("volume_persistence needs trades of two sessions, or bars, got one session: leave it out")
    price = float(tape.days[-1].mid[-1])
    quantity = max(1.0, float(round(0.04 * tape.adv)))
    impact, impact_texts = public_impact()
    source_text = f"one session, {tape.days[0].date}, of {', '.join(Path(file).name for file in tape.files)}"
    provenance = {
        "adv": f"volume of {source_text}",
        "volatility": f"{volatility_seconds(tape):g}-second moves of the mid, {source_text}; standard error "
        f"{volatility.error:.2g}",
        "arrival_price": f"last mid, {tape.days[-1].date}",
        "quantity": "4 % of the volume of the day",
        "risk_aversion": "2 / arrival notional",
        **impact_texts,
    }
    return Scenario(
        name=name,
        description=f"measured from {source_text}",
        arrival_price=price,
        quantity=quantity,
        adv=_digits(tape.adv),
        volatility=_digits(volatility.value),
        day_minutes=float(tape.day_minutes),
        horizon_minutes=float(tape.day_minutes),
        risk_aversion=_digits(2.0 / (price * quantity)),
        provenance=provenance,
        **impact,
    )


def _fields(
    tape: Tape, spreads: Spreads, responses: Sequence[Response], decay: Decay, volatility: float
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return the measured fields of a scenario, their provenance, and a sentence for each number that was moved.

    Impact is stated in units of a volatility, a fraction per square root of a day.
    """
    assumed = public_impact()[1]
    days = f"{len(tape.dates)} session{'s' * (len(tape.dates) > 1)} {tape.dates[0]} to {tape.dates[-1]}"
    chosen = precise(responses)
    moved = []
    if chosen is not responses[-1]:
        scale = responses[-1].seconds
        moved.append(f"lambda is taken at {chosen.seconds:g} s: its standard error at {scale:g} s is above {PRECISE:.0%} of it")
    if chosen.kyle_lambda.high < 0.0:
        raise ValueError(
            f"{', '.join(tape.files)}: the mid moves against the signed flow (lambda {chosen.kyle_lambda} at "
            f"{chosen.seconds:g} s): is the side that of the resting order? Name the aggressor's with --columns side=NAME"
        )
    kyle = max(chosen.kyle_lambda.value, 0.0)
    if not kyle:
        moved.append(
            f"lambda and flow_share are 0: lambda {chosen.kyle_lambda} at {chosen.seconds:g} s does not differ from it"
        )
    gamma = min(max(decay.gamma.value, 0.0), kyle)
    if gamma != decay.gamma.value:
        moved.append(f"gamma is moved from {decay.gamma.value:.3g} to {gamma:.3g}: it lies between 0 and lambda ({kyle:.3g})")
    persistence = chosen.persistence.value if chosen.persistence.low * chosen.persistence.high > 0.0 else 0.0
    if not persistence:
        moved.append(f"flow_persistence is 0: {chosen.persistence} at {chosen.seconds:g} s does not differ from it")
    fields = {
        "half_spread_bps": spreads.quoted.value,
        "kyle_multiple": kyle / volatility,
        "perm_impact_multiple": gamma / volatility,
        "flow_share": chosen.r_squared if kyle else 0.0,
        "flow_persistence": persistence,
        **{name: value for name, (value, _) in ALMGREN_2005.items()},
    }
    texts = {
        "half_spread_bps": f"mean quoted half-spread over time, {days}; standard error {spreads.quoted.error:.2g}; effective "
        f"{spreads.effective.value:.3g}",
        "kyle_lambda": f"regression of {chosen.seconds:g}-second moves of the mid on signed flow, {days}; "
        f"{kyle:.3g}, standard error {chosen.kyle_lambda.error:.2g} arrival prices for one ADV, at a volatility of "
        f"{volatility:.2%} a day",
        "perm_impact_gamma": f"permanent part of the response to flow, {days}; {gamma:.3g}, standard error "
        f"{decay.gamma.error:.2g} arrival prices for one ADV",
        "flow_share": f"R^2 of that regression, {days}",
        "flow_persistence": f"first autocorrelation of signed flow of {chosen.seconds:g} s, {days}; standard error "
        f"{chosen.persistence.error:.2g}",
        "temp_impact_alpha": assumed["temp_impact_alpha"],
        "temp_impact_beta": assumed["temp_impact_beta"],
    }
    if decay.low > 0.0:
        fields["resilience"] = decay.resilience
        high = "no upper bound" if math.isinf(decay.high) else f"{decay.high:.0f}"
        texts["resilience"] = f"profile likelihood, {days}; 95 % interval {decay.low:.0f} to {high}"
    else:
        texts["resilience"] = f"{assumed['resilience']}; not identified by {days} (likelihood up to {decay.high:.0f} a day)"
        moved.append("resilience is that of public tapes: the tape does not identify it")
    return {name: _digits(value) for name, value in fields.items()}, texts, moved


def precise(responses: Sequence[Response]) -> Response:
    """Return the response at the longest scale at which lambda is known well enough; the shortest if there is none."""
    good = [item for item in responses if item.kyle_lambda.error <= PRECISE * abs(item.kyle_lambda.value)]
    return good[-1] if good else responses[0]


def to_plain(record: Any) -> Any:
    """Return a record as plain values for JSON; infinities are null."""
    if hasattr(record, "_asdict"):
        return {key: to_plain(value) for key, value in record._asdict().items()}
    if isinstance(record, float) and not math.isfinite(record):
        return None
    return [to_plain(item) for item in record] if isinstance(record, tuple) else record


def _digits(value: float) -> float:
    """Return a value rounded to four significant digits: more are not measured."""
    return rounded(value, 4)
