"""Verify a store: recompute every cell and compare it bit for bit with the stored outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import numpy as np

from hyperexec_env.evaluation.identity import Cell, engine, engines
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import market_of, paths_of, roll_on, roll_rule
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.evaluation.store import DamagedCell, Store, difference
from hyperexec_env.files import printable
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.tables import Market

__all__ = ["Finding", "Verification", "verify"]


@dataclass(frozen=True)
class Finding:
    """Verification result for all cells of one policy on one scenario and seed."""

    scenario: str
    """Name of the scenario; "" if another engine computed the cells."""
    scenario_hash: str
    policy: str
    """Name of the policy."""
    policy_hash: str
    hidden: bool
    seed: int
    cells: int
    episodes: int
    skipped: str
    """Reason for which the cells were not recomputed; "" if they were."""
    differences: tuple[str, ...]
    """One line for each cell that differs or is damaged."""

    def __str__(self) -> str:
        """Return the finding as one line."""
        cells = f"{self.cells:,} {'cell' if self.cells == 1 else 'cells'}"
        policy = f"{self.policy} [{self.policy_hash[:8]}]{', regime hidden' if self.hidden else ''}"
        scenario = f"{self.scenario or 'scenario'} ({self.scenario_hash})"
        line = f"{scenario}, {policy}, seed {self.seed}: {cells}, {self.episodes:,} episodes"
        if self.skipped:
            return f"{line}: skipped, {self.skipped}"
        return f"{line}: {'; '.join(self.differences) or 'equal bit for bit'}"


@dataclass(frozen=True)
class Verification:
    """All findings of a store."""

    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether every recomputed cell equals the stored one."""
        return not any(finding.differences for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"sound": self.sound, **self._counts(), "rows": [asdict(finding) for finding in self.findings]}

    def _counts(self) -> dict[str, int]:
        """Return the number of cells: all, different (or damaged) and skipped."""
        skipped = sum(finding.cells for finding in self.findings if finding.skipped)
        different = sum(len(finding.differences) for finding in self.findings)
        return {"cells": sum(finding.cells for finding in self.findings), "different": different, "skipped": skipped}

    def __str__(self) -> str:
        """Return one line for each finding, and the total."""
        cells, different, skipped = self._counts().values()
        equal = cells - different - skipped
        total = f"{cells:,} cells: {equal:,} equal bit for bit, {different:,} different or damaged, {skipped:,} skipped"
        return "\n".join([*map(str, self.findings), total])


_Key = tuple[str, str, str, str, bool, int, str]
"""Values that the cells of a finding share: the fields of :class:`Finding` up to the seed, and the reason for skipping."""


def verify(
    store: Store, policies: Mapping[str, Policy], progress: Callable[[int], None] = lambda episodes: None
) -> Verification:
    """Recompute every cell of the engines available here and compare it with the stored outcome.

    Args:
        store: The store.
        policies: Policies by :func:`~hyperexec_env.evaluation.identity.policy_hash`; cells of other policies are skipped.
        progress: Called after each cell with its number of episodes.

    Raises:
        ValueError: The structure of the file or a scenario in it is damaged.
    """
    store.check()
    results: dict[_Key, list[tuple[Cell, str]]] = {}
    known = engines()
    for (fingerprint, scenario, *_), batch in groupby(store.cells(), key=lambda entry: entry[0][:5]):
        named = list(batch)
        available = fingerprint in known
        scenario_name = printable(store.scenario(scenario).name) if available else ""
        found = _recomputed(store, [cell for cell, _ in named if cell.policy in policies], policies) if available else {}
        for cell, name in named:
            skipped = "another engine (other code, numpy or processor)" if not available else ""
            skipped = skipped or ("" if cell in found else "the policy is not available")
            key = (scenario_name, scenario, printable(name), cell.policy, cell.hidden, cell.seed, skipped)
            results.setdefault(key, []).append((cell, found.get(cell, "")))
            progress(cell.episodes)
    return Verification(tuple(_finding(key, cells) for key, cells in sorted(results.items(), key=lambda item: item[0])))


def _finding(key: _Key, cells: Sequence[tuple[Cell, str]]) -> Finding:
    episodes = sum(cell.episodes for cell, _ in cells)
    different = tuple(f"episodes {cell.first} to {cell.first + cell.episodes - 1}: {what}" for cell, what in cells if what)
    return Finding(*key[:-1], len(cells), episodes, key[-1], different)


def _recomputed(store: Store, cells: Sequence[Cell], policies: Mapping[str, Policy]) -> dict[Cell, str]:
    """Recompute the cells of one batch of episodes; return the difference to each stored outcome, "" if there is none."""
    if not cells:
        return {}
    fingerprint, scenario, seed, first, episodes, *_ = cells[0]
    market = market_of(store.scenario(scenario))
    keys = episode_keys(seed, np.arange(first, first + episodes), board=True)
    path = paths_of(market, keys) if fingerprint == engine() else None
    found = {}
    for cell in cells:
        try:
            stored = store.get(cell)
        except DamagedCell:
            found[cell] = "DAMAGED"
            continue
        policy = policies[cell.policy]
        rule = rule_of(policy, market, cell.hidden) if path is None and isinstance(market, Market) else None
        if path is not None:
            outcome = roll_on(market, policy, path, cell.hidden)
        elif rule is not None and isinstance(market, Market):
            outcome = roll_rule(market, RuleLoop(market, rule, cell.hidden), keys)
        else:
            found[cell] = "DIFFERENT: the policy no longer has a rule"
            continue
        different = difference(stored, outcome) if stored else ""
        found[cell] = f"DIFFERENT in {different}" if different else ""
    return found
