"""Functions of a user: own rewards, own features and own action modes.

Every execution calls such a function with single numbers, so that one definition gives the same results everywhere: the single
environment with Python's floats, numpy lanes one lane after another (:func:`by_lane`), and compiled loops in machine code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.action import Action, OwnAction
from hyperexec_env.envs.feature import all_beliefs
from hyperexec_env.envs.features import Feature, Known, Observer, Sight
from hyperexec_env.envs.reward import Outcome, Paid, outcome_of
from hyperexec_env.envs.situation import REGIME_LAW, Situation, price_of_last, situation_of
from hyperexec_env.market.draws import Drawn, drawn_numbers
from hyperexec_env.market.kernel import Cost
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane
from hyperexec_env.market.numeric import maximum, minimum
from hyperexec_env.market.tables import Numbers
from hyperexec_env.records import Single, Whole, for_numbers, is_record, numbered, numbers

__all__ = [
    *("allow_stage", "ask_stage", "asked_shares", "by_lane", "extend_stage", "extension", "known_of", "name_of", "notice"),
    *("observe_all", "pay_stage", "whole"),
]


def notice(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane) -> Situation:
    """Return the situation of a lane, for a user's function: as `env.unwrapped.situation`, without the market."""
    hidden = sight.hidden
    return situation_of(None, numbers, hidden, order, lane, price_of_last(hidden, order, lane))


@for_numbers(lambda value: np.int64(value))
def whole(value: Any) -> Any:
    """Return numbers as integers."""
    return np.asarray(value).astype(np.int64)


def name_of(function: Any) -> str:
    """Return the name of a user's function, for messages."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def by_lane(function: Callable[..., Any], idle: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function of arrays over lanes that calls a function of single numbers for each lane.

    Compiled loops call the function of single numbers itself.

    Args:
        function: Function of numbers, and of records of numbers, that returns a number or a record of numbers.
        idle: Function of the same arguments that returns whether a lane waits for its next episode: its result is then 0.
            The step of a waiting lane is computed and thrown away, and the function need not be defined there.
    """

    @for_numbers(function)
    def call(*given: Any) -> Any:
        count = next((len(value) for value in _values(given) if np.ndim(value)), None)
        if count is None:
            return function(*given)
        rows = zip(*(_rows(value, count) for value in given), strict=False)  # numbers that all lanes share repeat for ever
        waiting = repeat(False) if idle is None else np.broadcast_to(idle(*given), count).tolist()
        made = [0.0 if skip else function(*row) for row, skip in zip(rows, waiting, strict=False)]
        if is_record(made[0]):
            return type(made[0])(*np.array(made, dtype=np.float64).T)
        return np.array(made, dtype=np.float64)

    return call


def _values(given: Any) -> Iterator[Any]:
    """Yield the numbers of some arguments."""
    for value in given:
        yield from numbers(value) if is_record(value) else [value]


def _rows(value: Any, count: int) -> Iterator[Any]:
    """Yield an argument lane by lane, in Python's numbers."""
    if is_record(value):
        return map(type(value)._make, zip(*(_rows(part, count) for part in value), strict=False))
    return iter(value.tolist()) if np.ndim(value) else repeat(value, count)


# --- reward


def _no_outcome(outcome: Outcome) -> Any:
    """Return whether the lane of an outcome waits for its next episode."""
    return (outcome.k >= outcome.slices) | (outcome.shares + outcome.remaining <= 0.0)


@lru_cache(maxsize=64)
def pay_stage(reward: Callable[[Outcome], Any], drawn: bool) -> Callable[..., Paid]:
    """Return the stage that pays a user's reward, in a market that is known or is a draw of a posterior."""
    paid = by_lane(reward, _no_outcome)

    def pay_own(numbers: Numbers, order: EpisodeOrder, lane: Lane, cost: Cost) -> Paid:
        return Paid(paid(outcome_of(numbers, order, lane, cost)) * 1.0, lane.over != 0)

    def pay_own_drawn(numbers: Numbers, drawn: Drawn, order: EpisodeOrder, lane: Lane, cost: Cost) -> Paid:
        return Paid(paid(outcome_of(drawn_numbers(numbers, drawn), order, lane, cost)) * 1.0, lane.over != 0)

    return pay_own_drawn if drawn else pay_own


# --- features


@lru_cache(maxsize=64)
def extension(features: tuple[Feature, ...]) -> Callable[[Situation, Known], Any]:
    """Return the function of a situation and of what is known that makes the record of some features, clipped to their bounds.

    NaN stays NaN, which the environments refuse.
    """
    kind = numbered("Extra", len(features), Single)
    names: dict[str, Any] = {"Extra": kind, "minimum": minimum, "maximum": maximum}
    names |= {f"f{index}": feature.function for index, feature in enumerate(features)}
    parts = [
        f"minimum({feature.high!r}, maximum({feature.low!r}, f{index}(situation, known) * 1.0))"
        for index, feature in enumerate(features)
    ]
    made: Callable[[Situation, Known], Any] = eval(f"lambda situation, known: Extra({', '.join(parts)})", names)  # noqa: S307 - numbers and names of ours
    made.kind = kind  # type: ignore[attr-defined]
    return made


def _of_lanes(features: tuple[Feature, ...]) -> Callable[[Any, Any], Any]:
    """Return :func:`extension` as a function of arrays over lanes too: that of beliefs is one, a user's goes lane by lane."""
    made = extension(features)
    return made if all_beliefs(features) else by_lane(made)


def extend_stage(features: tuple[Feature, ...]) -> tuple[Any, Callable[..., Any]]:
    """Return the record type of some features, and the stage that computes it; that of beliefs alone reads no :data:`Known`."""
    made: Any = extension(features)
    extra = _of_lanes(features)

    def extend(situation: Situation, known: Known) -> Any:
        return extra(situation, known)

    def extend_beliefs(situation: Situation) -> Any:
        return extra(situation, None)

    beliefs = all_beliefs(features)
    chosen: Callable[..., Any] = extend_beliefs if beliefs else extend
    chosen.__annotations__ = {"situation": Situation, **({} if beliefs else {"known": Known}), "return": made.kind}
    return made.kind, chosen


def known_of(observer: Observer, situation: Situation) -> Any:
    """Return what is known of the slice of a situation: floats, or arrays over episodes."""
    if not np.ndim(situation.remaining):
        return observer.facts_of(situation.k, situation.seen)
    cell = np.broadcast_to(observer.market.cell(situation.k, situation.seen), np.shape(situation.remaining))
    return Known(*(column.take(cell) for column in observer.facts))


def observe_all(observer: Observer, situation: Situation) -> NDArray[np.float32]:
    """Return the observations of a situation with the user's features, shape (features,) or (episodes, features).

    Raises:
        ValueError: The observation shows the probabilities of the regimes, and the situation does not have them.
    """
    if observer.follows and not np.any([getattr(situation, name) for name in REGIME_LAW]):
        raise ValueError("the policy observes the probabilities of the regimes, which this situation does not tell")
    rows = observer.observe(situation)
    if observer.own:
        extra = _of_lanes(observer.own)(situation._replace(market=None), known_of(observer, situation))
        for column, values in enumerate(extra, start=-len(observer.own)):
            rows[..., column] = values
    return observer.select(rows)


def asked_shares(own: OwnAction, observer: Observer, situation: Situation, action: Any) -> Any:
    """Return the shares that actions of a user's action mode request: a float, or an array over episodes."""
    return by_lane(own.shares)(action, situation._replace(market=None), known_of(observer, situation))


# --- action modes


def _no_slice(action: Any, situation: Situation, known: Known) -> Any:
    """Return whether a lane waits for its next episode."""
    return (situation.k >= known.slices) | (situation.remaining <= 0.0)


@lru_cache(maxsize=64)
def ask_stage(own: OwnAction) -> Callable[..., Asked]:
    """Return the stage that converts an action to requested shares."""
    request = by_lane(own.shares, _no_slice)
    if own.discrete:

        def ask_level(situation: Situation, known: Known, action: Action) -> Asked:
            return Asked(request(whole(action.value), situation, known) * 1.0)

        return ask_level
    low, high = own.bounds

    def ask_number(situation: Situation, known: Known, action: Action) -> Asked:
        return Asked(request(minimum(maximum(action.value, low), high), situation, known) * 1.0)

    return ask_number


def allow_stage(own: OwnAction) -> tuple[Any, Callable[..., Any]]:
    """Return the record type of the mask of the levels, and the stage that computes it."""
    kind = numbered("Allowed", own.levels, Whole)
    parts = [f"(mask({level}, situation, known) != 0) * 1" for level in range(own.levels)]
    text = f"lambda situation, known: Allowed({', '.join(parts)})"
    allowed = by_lane(eval(text, {"Allowed": kind, "mask": own.mask}))  # noqa: S307 - numbers and names of ours

    def allow(situation: Situation, known: Known) -> Any:
        return allowed(situation, known)

    allow.__annotations__ = {"situation": Situation, "known": Known, "return": kind}
    return kind, allow
