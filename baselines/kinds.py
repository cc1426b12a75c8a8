"""What can be done with each kind of scenario: one asset, a basket, a child order at the touch, an order over venues."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Final, NamedTuple

from hyperexec_env.evaluation.basket_certificate import certify_basket
from hyperexec_env.evaluation.certificate import certify as certify_one_asset
from hyperexec_env.evaluation.touch_certificate import certify_touch
from hyperexec_env.evaluation.venue_certificate import certify_venues
from hyperexec_env.market.basket_scenario import BasketLike, BasketScenario
from hyperexec_env.market.scenario import Scenario, ScenarioLike
from hyperexec_env.market.scenarios import get_scenario, kind_of
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario

from .basket_card import basket_card
from .card import card as card_of_one_asset
from .evaluate import evaluate as evaluate_order
from .touch_board import evaluate_touch
from .touch_card import touch_card
from .venue_board import evaluate_venues
from .venue_card import venue_card

__all__ = ["card", "certify", "evaluate"]


class _Kind(NamedTuple):
    """The functions of a kind of scenario."""

    card: Callable[..., Any]
    certify: Callable[..., Any]
    evaluate: Callable[..., Any]


_KINDS: Final[dict[type, _Kind]] = {
    Scenario: _Kind(card_of_one_asset, certify_one_asset, evaluate_order),
    BasketScenario: _Kind(basket_card, certify_basket, evaluate_order),
    TouchScenario: _Kind(touch_card, certify_touch, evaluate_touch),
    VenueScenario: _Kind(venue_card, certify_venues, evaluate_venues),
}
"""To add a kind, name its functions here, its solver in :mod:`.solver.choose`, and its catalog in `market.scenarios`."""


def card(scenario: ScenarioLike | BasketLike | TouchLike | VenueLike) -> Any:
    """Return the card of a scenario: parameters with units and sources, the computed optimum, and the certificate.

    Args:
        scenario: A name, a dict, a path or a record, of any kind of scenario.

    Returns:
        A :class:`~hyperexec_env.baselines.card.Card`, or the card of its kind; `str` gives the text.

    Raises:
        ValueError: The name is unknown, or a value is invalid.
    """
    return _call("card", scenario)


def certify(scenario: ScenarioLike | BasketLike | TouchLike | VenueLike, **options: Any) -> Any:
    """Test whether the market of a scenario is sound.

    Args:
        scenario: A name, a dict, a path or a record, of any kind of scenario.
        options: Arguments of :func:`~hyperexec_env.evaluation.certificate.certify` (one asset),
            :func:`~hyperexec_env.evaluation.basket_certificate.certify_basket`,
            :func:`~hyperexec_env.evaluation.touch_certificate.certify_touch` or
            :func:`~hyperexec_env.evaluation.venue_certificate.certify_venues`.

    Returns:
        The certificate of the kind; `str` gives the report.

    Raises:
        ValueError: The name is unknown, a value is invalid, or the kind does not have an option.
    """
    return _call("certify", scenario, **options)


def evaluate(
    scenario: ScenarioLike | BasketLike | TouchLike | VenueLike = "regime-day", policies: Any = "all", **options: Any
) -> Any:
    """Evaluate policies on the same episodes of a scenario, against a baseline and the optimum.

    Args:
        scenario: A name, a dict, a path or a record, of any kind of scenario.
        policies: Names, groups, folders or policies of the kind.
        options: `episodes`, `seed`, and the other arguments of :func:`~hyperexec_env.baselines.evaluate.evaluate` (one asset
            or a basket), :func:`~hyperexec_env.baselines.touch_board.evaluate_touch` or
            :func:`~hyperexec_env.baselines.venue_board.evaluate_venues`.

    Returns:
        A :class:`~hyperexec_env.evaluation.board.Board`, or the board of the kind; `str` gives the table.

    Raises:
        ValueError: A name is unknown, a value is invalid, or the kind does not have an option.
    """
    return _call("evaluate", scenario, policies, **options)


def _call(verb: str, scenario: Any, *arguments: Any, **options: Any) -> Any:
    """Call the function of a kind; raise ValueError for an option that the kind does not have."""
    record = get_scenario(scenario)
    function = getattr(_KINDS[type(record)], verb)
    known = signature(function).parameters
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{name} is not an option of {kind_of(record)}, got {value!r} with {record.name!r}")
    return function(record, *arguments, **options)
