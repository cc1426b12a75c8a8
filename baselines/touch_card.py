"""The card of a touch scenario: its numbers with units and sources, the exact optimum, and the certificate."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hyperexec_env.evaluation.table import text_table
from hyperexec_env.evaluation.touch_certificate import certify_touch
from hyperexec_env.market.touch_scenario import TouchLike, TouchScenario, get_touch

from .solver.touch import policy_value, solve_touch
from .touch_policies import touch_policy, touch_policy_names

__all__ = ["TouchCard", "touch_card"]


@dataclass(frozen=True)
class TouchCard:
    """The card of a touch scenario; `str` renders it as text, which solves and certifies the scenario."""

    scenario: TouchScenario

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the scenario and its hash."""
        return {**self.scenario.to_dict(), "hash": self.scenario.hash}

    def __str__(self) -> str:
        """Return the card as text."""
        scenario = self.scenario
        lines = [f"{scenario.name} ({scenario.hash}): {scenario.description}", ""]
        for item in fields(scenario):
            if "meaning" in item.metadata and item.name not in ("name", "description"):
                unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
                lines.append(f"  {item.name:<20} {getattr(scenario, item.name):>10,.8g}  {item.metadata['meaning']}{unit}")
        lines += ["", "where the numbers come from"]
        lines += [f"  {key:<20} {text}" for key, text in scenario.provenance.items()] or ["  not stated"]
        solution = solve_touch(scenario)
        cells = []
        for name in touch_policy_names():
            value = policy_value(scenario, touch_policy(name).actions(scenario))
            gap = 100.0 * (value - solution.optimum) / abs(solution.optimum) if solution.optimum else float("nan")
            cells.append(["", name, f"{value:.4f}", f"{gap:z.1f}"])
        gaps = text_table(["", "policy", "J, exact", "gap %"], cells)
        return "\n".join([*lines, "", str(solution), "", gaps, "", certify_touch(scenario).verdict])


def touch_card(touch: TouchLike) -> TouchCard:
    """Return the card of a touch scenario, given as a name, a dict, a path or a scenario."""
    return TouchCard(get_touch(touch))
