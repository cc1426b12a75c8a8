"""Is the market like the market? Facts of simulated sessions beside the same facts of real ones, with errors.

Real sessions are bars on the slices of the scenario; simulated sessions are whole days of the scenario. Each fact is one
function of returns and volumes, computed in the same way from both. Cont (2001) lists the facts of returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.data.blocks import resampled_days
from hyperexec_env.data.figures import Samples, samples_of
from hyperexec_env.data.impact import Response, response_of, spreads_of
from hyperexec_env.data.sessions import Sessions
from hyperexec_env.data.tape import Flow, Tape, flow_of
from hyperexec_env.evaluation.board import REALISM, text_table
from hyperexec_env.extras import need
from hyperexec_env.files import write_figure
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market

__all__ = ["FACTS", "Comparison", "Days", "Fact", "Realism", "facts_on_card", "realism"]

Floats = NDArray[np.float64]

SIMULATED: Final = 2_000
"""Number of simulated sessions, so that their error is small beside that of the real ones."""
REPLICATES: Final = 200
"""Number of resamples of the bootstrap."""
SEED: Final = 20_260_103
"""Seed of simulated sessions and resamples, so that a comparison is repeatable."""
MISS: Final = 2.58
"""Standard errors beyond which a fact is a miss: 1 % of true facts are, by chance."""
_LATER: Final = 4
"""Slices after which the response to flow is compared."""
ONE_DAY: Final = "an episode is one day, so nothing persists from day to day; a replay of real days keeps it"
NO_LEVEL: Final = "volume_level_sd is the variation of the volume from day to day (calibrate --volume-level)"
NO_MEMORY: Final = "volume_persistence is the memory of the volume within a day (calibrate --volume-persistence)"
ONE_RATE: Final = "volume_persistence is an AR(1), whose memory decays at one rate; that of real volume falls fast, then slowly"
NO_NEWS: Final = "the volume of a slice does not depend on its return, given the regime"
ONE_FLOW: Final = (
    "flow is a Gaussian AR(1), whose sign has the autocorrelation 2/pi asin(flow_persistence); real flow has heavy tails and a "
    "longer memory"
)
"""Reasons for which a fact misses."""


class Days(NamedTuple):
    """Sessions; arrays have shape (session, slice)."""

    returns: Floats
    """Log returns over the usual size of a return at that time of day."""
    size: Floats
    """Usual size of a return (root mean square) at that time of day, shape (slice,), relative to its mean."""
    share: Floats
    """Mean share of the volume of the day in each slice, shape (slice,)."""
    volume: Floats
    """Logarithm of the volume over the mean volume of the slice."""

    @property
    def level(self) -> Floats:
        """Daily level of the log volume, shape (session,)."""
        return np.asarray(self.volume.mean(axis=1))

    @property
    def within(self) -> Floats:
        """Log volume around its daily level and the mean of its slice."""
        rest = self.volume - self.volume.mean(axis=1, keepdims=True)
        return np.asarray(rest - rest.mean(axis=0))

    @property
    def spell(self) -> Floats:
        """Logarithm of the realised volatility of each day, shape (session,)."""
        return np.asarray(0.5 * np.log(np.maximum((self.returns**2).mean(axis=1), 1e-12)))


class Fact(NamedTuple):
    """A fact of a market."""

    name: str
    group: str
    """returns, volume, both, or tape."""
    value: Callable[[Days], float]
    reason: str = ""
    """What a market lacks for which the fact misses, for its card."""


class Comparison(NamedTuple):
    """A fact, simulated and real."""

    name: str
    group: str
    simulated: float
    simulated_error: float
    """Standard error, from as many simulated sessions as were drawn."""
    real: float
    real_error: float
    """Standard error: moving-block bootstrap over sessions."""

    @property
    def distance(self) -> float:
        """Difference over its standard error."""
        error = math.hypot(self.simulated_error, self.real_error)
        return (self.simulated - self.real) / error if error > 0.0 else math.copysign(math.inf, self.simulated - self.real)

    @property
    def misses(self) -> bool:
        """Whether the difference is larger than chance."""
        return bool(abs(self.distance) > MISS)

    def __str__(self) -> str:
        """Return both values, the real one with its 95 % interval, and whether the fact misses."""
        low, high = (self.real + sign * 1.96 * self.real_error for sign in (-1.0, 1.0))
        verdict = "misses" if self.misses else "agrees"
        return f"{verdict}: simulated {self.simulated:.3f}, real {self.real:.3f} (95 % interval {low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Realism:
    """The facts of a scenario beside those of real sessions; ``print`` shows a table."""

    scenario: Scenario
    sessions: int
    first: str
    last: str
    facts: tuple[Comparison, ...]
    files: tuple[str, ...] = ()
    """Names of the files of the real sessions."""

    def on_card(self, day: date | None = None) -> Scenario:
        """Return the scenario with the comparison in its provenance, from which its card names the facts that miss.

        An earlier comparison is replaced. The entries name the hash of the scenario, so that the card can say whether the
        scenario has changed since.

        Args:
            day: Date of the comparison; None: today.
        """
        scenario, missed, compared = self.scenario, len(self.missed), day or date.today()
        names = ", ".join(self.files[:3]) + (f" and {len(self.files) - 3} more" if len(self.files) > 3 else "")
        entries = {
            REALISM: f"{missed} of {len(self.facts)} facts miss; compared on {compared} with {self.sessions} sessions "
            f"{self.first} to {self.last}{f' of {names}' if names else ''}, scenario {scenario.hash}"
        }
        entries |= {f"{REALISM}: {fact.name}": str(fact) for fact in self.facts}
        kept = {key: text for key, text in scenario.provenance.items() if not _is_entry(key)}
        return replace(scenario, provenance={**kept, **entries})

    @property
    def missed(self) -> tuple[str, ...]:
        """Names of the facts that miss."""
        return tuple(fact.name for fact in self.facts if fact.misses)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        facts = [{**fact._asdict(), "distance": fact.distance, "misses": fact.misses} for fact in self.facts]
        return {"scenario": self.scenario.to_dict(), "sessions": self.sessions, "facts": facts, "missed": list(self.missed)}

    def __str__(self) -> str:
        """Return the table of facts."""
        head = f"{self.scenario.name} beside {self.sessions} real sessions, {self.first} to {self.last}"
        rows = [
            [
                fact.name,
                f"{fact.simulated:.3f} +- {fact.simulated_error:.3f}",
                f"{fact.real:.3f} +- {fact.real_error:.3f}",
                f"{fact.distance:+.1f}",
                "miss" if fact.misses else "",
            ]
            for fact in self.facts
        ]
        table = text_table(["fact", "simulated", "real", "difference / error", ""], rows)
        verdict = f"{len(self.missed)} of {len(self.facts)} facts miss (beyond {MISS} standard errors)"
        return f"{head}\n{table}\n{verdict}" + (f": {', '.join(self.missed)}" if self.missed else "")


def realism(scenario: ScenarioLike, sessions: Sessions, tape: Tape | None = None) -> Realism:
    """Compare simulated sessions of a scenario with real sessions.

    Args:
        scenario: The scenario; its order is ignored, whole days are simulated.
        sessions: At least five real sessions of bars that are not longer than a slice.
        tape: Trades and quotes, for the facts of flow and spread; None: without these.

    Raises:
        ValueError: The sessions are too few, are daily bars, or have no volume.
    """
    scenario = get_scenario(scenario)
    if len(sessions.dates) < 5 or sessions.bar_minutes == 1440 or not sessions.has_volume:
        got = f"{len(sessions.dates)} sessions of {sessions.bar_minutes}-minute bars"
        raise ValueError(f"realism needs at least five sessions of bars within the day, with a volume, got {got}")
    samples = samples_of(sessions)
    day = replace(
        scenario, start_minute=0.0, horizon_minutes=scenario.day_minutes, slices=samples.slices, max_participation=None
    )
    market = build_market(day)
    path = draw_path(market, episode_keys(SEED, np.arange(SIMULATED)), 1)
    price = np.maximum(path.world.price, 1e-9)
    simulated = _days_of(np.diff(np.log(price), axis=0).T, path.slices.volume.T)
    real = _days_of(samples.returns, samples.volume)
    facts = [_compared(fact, simulated, real, samples) for fact in FACTS]
    if tape is not None:
        facts += _of_tape(day, tape, path)
    files = tuple(Path(file).name for file in sessions.report.files)
    return Realism(scenario, len(sessions.dates), sessions.dates[0], sessions.dates[-1], tuple(facts), files)


def _is_entry(key: str) -> bool:
    """Return whether an entry of a provenance is that of a comparison."""
    return key == REALISM or key.startswith(f"{REALISM}: ")


def facts_on_card(scenario: Scenario) -> tuple[list[str], dict[str, str]]:
    """Return what the card of a scenario says of its comparison with real sessions, and the rest of its provenance.

    Returns:
        Lines: the summary, a line for each fact that misses, with the reason, and, if the scenario has changed since, a line
        that says so; none without a comparison. And the provenance of the parameters.
    """
    entries = {key: text for key, text in scenario.provenance.items() if _is_entry(key)}
    rest = {key: text for key, text in scenario.provenance.items() if key not in entries}
    if REALISM not in entries:
        return [], rest
    facts = {key.removeprefix(f"{REALISM}: "): text for key, text in entries.items() if key != REALISM}
    reasons = {fact.name: f"; {fact.reason}" for fact in FACTS if fact.reason} | {_SIGN: f"; {ONE_FLOW}"}
    lines = [f"is the market like the market? {entries[REALISM]}"]
    lines += [f"  {name} {text}{reasons.get(name, '')}" for name, text in facts.items() if text.startswith("misses")]
    if not entries[REALISM].endswith(scenario.hash):
        lines.append("  the scenario has changed since the comparison: run hyperexec realism again")
    return lines, rest


def draw_realism(found: Realism, path: str) -> None:
    """Draw the difference of each fact over its error to a png, svg or pdf file.

    Raises:
        ValueError: The file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "plot").Figure(figsize=(9, 0.34 * len(found.facts) + 1.4), layout="constrained")
    axes = figure.subplots()
    at = np.arange(len(found.facts))[::-1]
    distance = np.clip([fact.distance for fact in found.facts], -12.0, 12.0)
    colours = ["#c0392b" if fact.misses else "#1f5f99" for fact in found.facts]
    axes.barh(at, distance, color=colours, height=0.6)
    axes.axvspan(-MISS, MISS, color="#9aa7b5", alpha=0.25, zorder=0)
    axes.set_yticks(at, [fact.name for fact in found.facts], fontsize=8)
    values = axes.twinx()
    values.set_ylim(axes.get_ylim())
    texts = [f"{fact.simulated:.2f}, real {fact.real:.2f} \u00b1 {fact.real_error:.2f}" for fact in found.facts]
    values.set_yticks(at, texts, fontsize=8)
    axes.set_xlabel("simulated minus real, in standard errors (cut at 12)")
    axes.set_title(f"{found.scenario.name}: {len(found.missed)} of {len(found.facts)} facts miss", fontsize=10)
    write_figure(figure, path)


def _days_of(returns: Floats, volume: Floats) -> Days:
    """Return the sessions of returns and volumes, shape (session, slice)."""
    size = np.sqrt((returns**2).mean(axis=0))
    mean = volume.mean(axis=0)
    share = (volume / np.maximum(volume.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    floor = np.maximum(volume / mean, 1e-4)
    return Days(returns / np.maximum(size, 1e-12), size / size.mean(), share, np.log(floor))


def _compared(fact: Fact, simulated: Days, real: Days, samples: Samples) -> Comparison:
    """Return one fact of both."""
    count, drawn = len(real.returns), len(simulated.returns)
    found = [
        fact.value(_days_of(samples.returns[chosen], samples.volume[chosen]))
        for chosen in resampled_days(count, REPLICATES, SEED)
    ]
    size = max(count, 50)
    parts = [fact.value(_part(simulated, at, size)) for at in range(0, drawn - size + 1, size)]
    error = float(np.std(parts, ddof=1)) / math.sqrt(len(parts)) if len(parts) > 1 else 0.0
    return Comparison(fact.name, fact.group, fact.value(simulated), error, fact.value(real), float(np.std(found, ddof=1)))


def _part(days: Days, first: int, count: int) -> Days:
    """Return some of the sessions."""
    chosen = slice(first, first + count)
    return days._replace(returns=days.returns[chosen], volume=days.volume[chosen])


def _of_tape(day: Scenario, tape: Tape, path: Any) -> list[Comparison]:
    """Return the facts of flow and spread."""
    seconds = 60.0 * day.day_minutes / day.slices
    real: Response = response_of(tape, seconds)
    spread = spreads_of(tape).quoted
    flow, moves = path.world.flow[1:].ravel(), np.diff(path.world.price, axis=0).ravel()
    simulated = float(np.corrcoef(flow, moves)[0, 1] ** 2)
    lagged = float(np.corrcoef(path.world.flow[1:-1].ravel(), path.world.flow[2:].ravel())[0, 1])
    half = 1e4 * float(path.slices.half_spread.mean()) / day.arrival_price
    share_error = 2.0 * math.sqrt(real.r_squared / max(real.intervals, 1)) * (1.0 - real.r_squared)
    return [
        Comparison("share of moves that flow explains", "tape", simulated, 0.0, real.r_squared, share_error),
        Comparison("autocorrelation of flow, lag 1", "tape", lagged, 0.0, real.persistence.value, real.persistence.error),
        Comparison("quoted half-spread [bps]", "tape", half, 0.0, spread.value, spread.error),
        *_of_flow(flow_of(tape, seconds), np.diff(path.world.price, axis=0).T, path.world.flow[1:].T),
    ]


def _of_flow(real: Flow, moves: Floats, flow: Floats) -> list[Comparison]:
    """Return the facts of flow over time; none for a single session, whose error is not known.

    Args:
        real: Moves and flow of the tape in the slices of the scenario.
        moves: Moves of the simulated price, shape (session, slice).
        flow: Simulated flow, shape (session, slice).
    """
    count = int(np.bincount(real.day).min())
    rows = [np.flatnonzero(real.day == day)[:count] for day in np.unique(real.day)]
    if len(rows) < 2 or count <= _LATER:
        return []
    own = np.stack([real.move[row] for row in rows]), np.stack([real.flow[row] for row in rows])
    found = []
    for name, value in _FLOW_FACTS.items():
        without = [value(*(np.delete(part, at, axis=0) for part in own)) for at in range(len(rows))]
        error = math.sqrt((len(rows) - 1) * float(np.var(without)))  # jackknife over sessions
        found.append(Comparison(name, "tape", value(moves, flow), 0.0, value(*own), error))
    return found


def _kept(moves: Floats, flow: Floats) -> float:
    """Return the response of the price to flow :data:`_LATER` slices later, over that within the slice of the flow."""
    first = flow.shape[1] - _LATER
    later = sum(moves[:, lag : lag + first] for lag in range(_LATER + 1))
    return float((flow[:, :first] * later).sum() / (flow[:, :first] * moves[:, :first]).sum())


def _sign_memory(moves: Floats, flow: Floats) -> float:
    """Return the autocorrelation of the sign of the flow of successive slices."""
    return _autocorrelation(np.sign(flow), 1)


def _autocorrelation(values: Floats, lag: int) -> float:
    """Return the autocorrelation within sessions of values of shape (session, slice), or over sessions of shape (session,)."""
    centred = values - values.mean(axis=0) if values.ndim == 2 else values - values.mean()
    early, late = (centred[:, :-lag], centred[:, lag:]) if values.ndim == 2 else (centred[:-lag], centred[lag:])
    return float((early * late).sum() / max(math.sqrt((early**2).sum() * (late**2).sum()), 1e-300))


def _correlation(a: Floats, b: Floats) -> float:
    """Return the correlation of two arrays of one shape."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(math.sqrt((a**2).sum() * (b**2).sum()), 1e-300))


def _part_of_day(values: Floats, low: float, high: float) -> float:
    """Return the mean of values, shape (slice,), over a part of the day."""
    count = len(values)
    return float(values[int(low * count) : max(int(low * count) + 1, math.ceil(high * count))].mean())


def _magnitude(days: Days) -> Floats:
    """Return the size of returns around its mean at that time of day, in logarithms."""
    return np.log(np.maximum(np.abs(days.returns), 0.05))


def _runs(days: Days) -> float:
    """Return the mean number of successive slices, within a day, in which returns exceed their usual size."""
    large = np.abs(days.returns) > 0.674  # the median of a normal law
    starts = large & ~np.concatenate([np.zeros((len(large), 1), bool), large[:, :-1]], axis=1)
    return float(large.sum() / max(starts.sum(), 1))


def _kurtosis(days: Days) -> float:
    """Return the excess kurtosis of returns."""
    return float((days.returns**4).mean() / (days.returns**2).mean() ** 2) - 3.0


def _share(low: float, high: float) -> Callable[[Days], float]:
    """Return the function that gives the volume of a slice in a part of the day, over the mean of all slices."""
    return lambda days: _part_of_day(days.share, low, high) * len(days.share)


_SIGN: Final = "autocorrelation of the sign of flow, lag 1"
_FLOW_FACTS: Final = {
    f"response to flow {_LATER} slices later, relative": _kept,
    _SIGN: _sign_memory,
}
"""Facts of moves and flow, shape (session, slice), that a tape of several sessions holds."""
FACTS: Final = (
    Fact("excess kurtosis of returns", "returns", _kurtosis),
    Fact("autocorrelation of returns, lag 1", "returns", lambda days: _autocorrelation(days.returns, 1)),
    Fact("autocorrelation of size of returns, lag 1", "returns", lambda days: _autocorrelation(_magnitude(days), 1)),
    Fact("autocorrelation of size of returns, lag 4", "returns", lambda days: _autocorrelation(_magnitude(days), 4)),
    Fact("slices in a row with large returns", "returns", _runs),
    Fact("sd of log daily volatility", "returns", lambda days: float(days.spell.std(ddof=1))),
    Fact("autocorrelation of daily volatility, lag 1", "returns", lambda days: _autocorrelation(days.spell, 1), ONE_DAY),
    Fact("volatility of the first eighth of the day", "returns", lambda days: _part_of_day(days.size, 0.0, 0.125)),
    Fact("volatility of the middle of the day", "returns", lambda days: _part_of_day(days.size, 0.4, 0.6)),
    Fact("volume of the first eighth of the day", "volume", _share(0.0, 0.125)),
    Fact("volume of the last eighth of the day", "volume", _share(0.875, 1.0)),
    Fact("sd of log volume within a day", "volume", lambda days: float(days.within.std())),
    Fact("autocorrelation of volume within a day, lag 1", "volume", lambda days: _autocorrelation(days.within, 1), NO_MEMORY),
    Fact("autocorrelation of volume within a day, lag 4", "volume", lambda days: _autocorrelation(days.within, 4), ONE_RATE),
    Fact("sd of log daily volume", "volume", lambda days: float(days.level.std(ddof=1)), NO_LEVEL),
    Fact("autocorrelation of daily volume, lag 1", "volume", lambda days: _autocorrelation(days.level, 1), ONE_DAY),
    Fact("correlation of volume and size of return", "both", lambda days: _correlation(days.within, _magnitude(days)), NO_NEWS),
    Fact("correlation of daily volume and volatility", "both", lambda days: _correlation(days.level, days.spell), NO_LEVEL),
)
"""The facts that bars hold."""
