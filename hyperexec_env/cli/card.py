"""Print the card of a scenario: parameters with units and sources, computed optimum, and certificate of the market."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import scenario_option
from hyperexec_env.baselines.basket_card import BasketCard, basket_card
from hyperexec_env.baselines.card import Card, card
from hyperexec_env.baselines.touch_card import TouchCard, touch_card
from hyperexec_env.market.basket_scenario import is_basket
from hyperexec_env.market.touch_scenario import is_touch

ORDER = 10


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec card``."""

    scenario: str = scenario_option(positional=True)


def main(args: Args) -> Card | BasketCard | TouchCard:
    """Return the card of a scenario, of a basket or of a touch scenario."""
    if is_touch(args.scenario):
        return touch_card(args.scenario)
    return basket_card(args.scenario) if is_basket(args.scenario) else card(args.scenario)
