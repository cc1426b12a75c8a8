"""The card of a scenario with venues: order, market, venues and their laws, the computed optimum, and the certificate."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from hyperexec_env.evaluation.table import text_table
from hyperexec_env.evaluation.venue_certificate import certify_venues
from hyperexec_env.market.liquidity import expected_fill
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.venue_scenario import VenueLike, VenueScenario, get_venues

from .solver.venues import solve_venues

__all__ = ["VenueCard", "venue_card"]

_TRIPS: Final = 50
"""Random round trips that the certificate of a card tries; ``hyperexec certify`` tries more."""
_LEFT_OUT: Final = ("name", "description", "volume_curve", "volatility_curve")


@dataclass(frozen=True)
class VenueCard:
    """The card of a scenario with venues; `str` renders it as text, which solves and certifies the scenario."""

    scenario: VenueScenario

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the scenario and its hash."""
        return {**self.scenario.to_dict(), "hash": self.scenario.hash}

    def __str__(self) -> str:
        """Return the card as text."""
        scenario, market = self.scenario, self.scenario.market
        lines = [f"{scenario.name} ({scenario.hash}): {scenario.description}", ""]
        for item in fields(Scenario):
            value = getattr(market, item.name)
            if not item.metadata or item.name in _LEFT_OUT or value is None or value == item.default:
                continue
            text = f"{value:,.8g}" if isinstance(value, float) else str(value)
            unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
            lines.append(f"  {item.name:<20} {text:>16}  {item.metadata['meaning']}{unit}")
        lines += [
            "  every other field of the market is at its default",
            "",
            _venues(scenario),
            "",
            "where the numbers come from",
        ]
        lines += [f"  {key:<20} {text}" for key, text in market.provenance.items()] or ["  not stated"]
        return "\n".join([*lines, "", str(solve_venues(scenario)), "", certify_venues(scenario, trips=_TRIPS).verdict])


def venue_card(venues: VenueLike) -> VenueCard:
    """Return the card of a scenario with venues, given as a name, a dict, a path or a scenario."""
    return VenueCard(get_venues(venues))


def _venues(scenario: VenueScenario) -> str:
    """Return the table of venues: concessions in currency per share, in the first regime."""
    header = ["", "venue", "kind", "share", "share noise", "half-spread", "fee", "adverse", "P(A > 0)", "mean A [% of volume]"]
    cells = []
    for venue in scenario.venues:
        hidden = not venue.lit
        mean = 100.0 * float(expected_fill(venue.law, 1e9)) if hidden else 0.0
        cells.append(
            [
                "",
                venue.name,
                venue.kind,
                "-" if hidden else f"{venue.share:g}",
                "-" if hidden else f"{venue.share_noise:g}",
                f"{scenario.half_spreads(venue)[0]:.4g}",
                f"{venue.fee:.4g}",
                f"{scenario.adverse(venue)[0]:.4g}",
                f"{venue.law.found:.3g}" if hidden else "-",
                ("everything" if mean > 1e6 else f"{mean:.3g}") if hidden else "-",
            ]
        )
    return text_table(header, cells)
