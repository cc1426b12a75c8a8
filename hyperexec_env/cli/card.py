"""Print the card of a scenario: parameters with units and sources, computed optimum, and certificate of the market."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import scenario_option
from hyperexec_env.baselines.basket_card import BasketCard, basket_card
from hyperexec_env.baselines.card import Card, card
from hyperexec_env.market.basket_scenario import is_basket

ORDER = 10


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec card``."""

    scenario: str = scenario_option(positional=True)


def main(args: Args) -> Card | BasketCard:
    """Return the card, of a scenario or of a basket."""
    return basket_card(args.scenario) if is_basket(args.scenario) else card(args.scenario)
