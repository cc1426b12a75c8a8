"""The audit of results: unpaired comparisons, one training seed, a checkpoint chosen on the test, no interval, and the like.

Paired differences with intervals are computed anew from the episodes of the table, against a reference.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.audit.findings import Audit, Finding, failed, not_run, passed
from hyperexec_env.audit.results_table import Results, Row, read_results
from hyperexec_env.baselines.policies import SOLVED, policy_names
from hyperexec_env.checks import nearest, shown
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.statistics import bootstrap_means, holm, interval, p_value, smallest_difference

__all__ = ["RESULT_CHECKS", "audit_results"]

Floats = NDArray[np.float64]
Entrant = tuple[str, str, str]

_FEW: Final = 50
"""Episodes below which bootstrap intervals cover less often than their level."""
_LEVEL: Final = 0.05
_SHARED: Final = 10
"""Episodes that two policies must share for their equality to be remarkable."""


@dataclass(frozen=True)
class _Comparison:
    """Results, and the comparisons with a reference."""

    results: Results
    reference: Entrant
    rows: tuple[Row, ...]
    """The rows of the test, if the table has splits."""

    @cached_property
    def entrants(self) -> list[Entrant]:
        """What was judged, in the order of the table."""
        return list(dict.fromkeys(row.entrant for row in self.rows))

    @cached_property
    def costs(self) -> dict[Entrant, dict[tuple[str, str], float]]:
        """Finite costs of each entrant by episode, the first of duplicates; by number where rows name no episode."""
        found: dict[Entrant, dict[tuple[str, str], float]] = {entrant: {} for entrant in self.entrants}
        for number, row in enumerate(self.rows):
            if np.isfinite(row.cost):
                found[row.entrant].setdefault(row.key if self.identified else ("row", str(number)), row.cost)
        return found

    def differences(self, entrant: Entrant, other: Entrant | None = None) -> Floats:
        """Return the paired differences to another entrant (default: the reference) on the episodes that both have."""
        mine, theirs = self.costs[entrant], self.costs[other or self.reference]
        return np.array([cost - theirs[key] for key, cost in mine.items() if key in theirs])

    @cached_property
    def compared(self) -> dict[Entrant, Floats]:
        """Paired differences of every entrant that shares two episodes with the reference."""
        others = {entrant: self.differences(entrant) for entrant in self.entrants if entrant != self.reference}
        return {entrant: values for entrant, values in others.items() if len(values) > 1}

    @cached_property
    def p_values(self) -> dict[Entrant, tuple[float, float]]:
        """p-value of each difference, as it is and Holm-adjusted."""
        raw = np.array([p_value(values) for values in self.compared.values()])
        return dict(zip(self.compared, zip(raw.tolist(), holm(raw).tolist(), strict=True), strict=True)) if len(raw) else {}

    @property
    def identified(self) -> bool:
        """Whether the rows say which episode they are."""
        return "episode" in self.results.columns or ("seed" in self.results.columns and not self.results.summary)


def audit_results(
    path: str | os.PathLike[str], *, against: str = "", columns: Mapping[str, str] | None = None, of_scenario: str = ""
) -> Audit:
    """Audit results of anybody, and compute their paired differences anew.

    Args:
        path: A csv or JSON table with one row for each episode (or for each policy), a board of ``hyperexec evaluate --json``,
            or a store. See :data:`~hyperexec_env.audit.results_table.COLUMNS` for the columns.
        against: The reference policy; "": TWAP if it is there, else the first policy.
        columns: Column -> its name in the table.
        of_scenario: Scenario whose rows are audited; "": the only one.

    Raises:
        ValueError: The file cannot be read, or the reference or scenario is unknown.
    """
    results = read_results(os.fspath(path), columns, of_scenario)
    tested = tuple(row for row in results.rows if row.split.lower() not in ("train", "training", "validation", "valid", "val"))
    if not tested:
        raise ValueError(f"{results.source} has rows of training and validation only, and none of a test")
    reference, note = _reference(tested, against)
    comparison = _Comparison(results, reference, tested)
    findings = tuple(check(comparison) for check in RESULT_CHECKS.values())
    text, plain = ("", []) if results.summary else _recomputed(comparison)
    return Audit(f"the results {results.source}", findings, (*results.notes, *note), text, plain)


def _reference(rows: Sequence[Row], against: str) -> tuple[Entrant, tuple[str, ...]]:
    """Return the reference, and a sentence if it was chosen for the user."""
    entrants = list(dict.fromkeys(row.entrant for row in rows))
    names = list(dict.fromkeys(entrant[0] for entrant in entrants))
    if against:
        if against not in names:
            raise ValueError(f"there is no policy {shown(against)}{nearest(against, names)}")
        named = [entrant for entrant in entrants if entrant[0] == against]
        several = f"The reference is the first of {len(named)} results of {against}, by training seed and checkpoint."
        return named[0], (several,) if len(named) > 1 else ()
    chosen = next((entrant for entrant in entrants if entrant[0].upper() == "TWAP"), entrants[0])
    return chosen, (f"The reference is {chosen[0]}; --against chooses another one.",)


# --- checks


def _duplicates(given: _Comparison) -> Finding:
    """An episode counts once, and no training seed is a copy of another one."""
    counts = Counter((row.entrant, row.key) for row in given.rows)
    twice = [(entrant, key) for (entrant, key), count in counts.items() if count > 1]
    label = given.results.label
    if twice and (given.identified or given.results.summary):
        entrant, (seed, episode) = twice[0]
        where = " ".join(filter(None, [f"seed {seed}" * bool(seed), f"episode {episode}" * bool(episode)]))
        text = f"{len(twice)} of {len(counts)} results occur more than once, first {label(entrant)} {where}"
        return failed("duplicates", f"{text}: intervals are too narrow", duplicates=len(twice))
    trained = [entrant for entrant in given.entrants if entrant[1] and len(given.costs[entrant]) >= _SHARED]
    for place, one in enumerate(trained):
        for other in trained[:place]:
            if one[0] == other[0] and given.costs[one] == given.costs[other]:
                text = f"{label(one)} and {label(other)} have the same cost in all {len(given.costs[one])} episodes"
                return failed("duplicates", f"{text}: one is a copy of the other")
    return passed("duplicates", f"{len(counts)} results, each of another policy or episode", results=len(counts))


def _paired(given: _Comparison) -> Finding:
    """All policies are judged on the same episodes."""
    if given.results.summary:
        if given.results.paired:
            return passed("paired", "the table has paired differences")
        return not_run("paired", "the table has means only, and no column of paired differences; audit the episodes")
    if len(given.entrants) < 2:
        return not_run("paired", "the table has one policy")
    if not given.identified:
        text = "no column says which episode a row is: differences cannot be paired, and their intervals are those of the noise"
        return failed("paired", text)
    asked = {entrant: {row.key for row in given.rows if row.entrant == entrant} for entrant in given.entrants}
    everywhere = set.intersection(*asked.values())
    whole = set.union(*asked.values())
    if len(everywhere) < len(whole):
        short = min(asked, key=lambda entrant: len(asked[entrant]))
        text = f"{len(everywhere)} of {len(whole)} episodes are those of every policy; {given.results.label(short)} has"
        return failed("paired", f"{text} {len(asked[short])}", shared=len(everywhere), episodes=len(whole))
    gains = []
    for entrant in given.compared:
        shared = [key for key in given.costs[entrant] if key in given.costs[given.reference]]
        sides = [np.array([given.costs[one][key] for key in shared]) for one in (entrant, given.reference)]
        spread = float(np.std(sides[0] - sides[1]))
        gains.append(float(np.hypot(sides[0].std(), sides[1].std())) / spread if spread else 1.0)
    by = f"; pairing makes intervals {np.median(gains):.1f} times as narrow (median)" if gains else ""
    return passed("paired", f"all {len(asked)} policies have the same {len(whole)} episodes{by}", episodes=len(whole))


def _is_classical(policy: str) -> bool:
    return policy.lower() in {*map(str.lower, (*policy_names(), *SOLVED))}


def _training_seeds(given: _Comparison) -> Finding:
    """A trained policy is judged by several training seeds."""
    names = list(dict.fromkeys(entrant[0] for entrant in given.entrants))
    if all(map(_is_classical, names)):
        return passed("training seeds", "no policy is trained, by the names")
    if "training_seed" not in given.results.columns:
        others = [name for name in names if not _is_classical(name)]
        text = f"no column says which seed trained {', '.join(others[:5])}; name it by --columns training_seed=NAME"
        return not_run("training seeds", text)
    seeds = {name: sorted({entrant[1] for entrant in given.entrants if entrant[0] == name and entrant[1]}) for name in names}
    trained = {name: found for name, found in seeds.items() if found}
    alone = [name for name, found in trained.items() if len(found) < 2]
    if alone:
        text = f"{', '.join(alone)}: one training seed; the difference may be that of the seed. Train at least three"
        return failed("training seeds", text, seeds={name: len(found) for name, found in trained.items()})
    if not trained:
        return passed("training seeds", "no policy is trained: the column of training seeds is empty")
    listed = []
    for name, found in trained.items():
        means = [
            float(np.mean(list(costs.values()))) for entrant, costs in given.costs.items() if entrant[0] == name and len(costs)
        ]
        spread = f", means {min(means):.4g} to {max(means):.4g}" if means else ""
        listed.append(f"{name}: {len(found)} training seeds{spread}")
    return passed("training seeds", "; ".join(listed), seeds={name: len(found) for name, found in trained.items()})


def _selection(given: _Comparison) -> Finding:
    """No checkpoint is chosen on the episodes of the test, and no episode is in two splits."""
    results, label = given.results, given.results.label
    tested = {row.key for row in given.rows}
    aside = {row.key for row in results.rows} - tested if "split" in results.columns else set()
    others = {row.key for row in results.rows if row not in set(given.rows)} if "split" in results.columns else set()
    both = others & tested
    if both and given.identified:
        text = f"{len(both)} of {len(tested)} episodes of the test are also of training or validation"
        return failed("selection", text, shared=len(both))
    chosen = {row.selection_seed for row in given.rows if row.selection_seed} & {row.seed for row in given.rows}
    if chosen:
        text = f"checkpoints are chosen on the seeds {', '.join(sorted(chosen))}, which are those of the test"
        return failed("selection", f"{text}: the result of the chosen one is too good", seeds=sorted(chosen))
    several: dict[tuple[str, str], list[Entrant]] = {}
    for entrant in given.entrants:
        several.setdefault(entrant[:2], []).append(entrant)
    for (policy, training_seed), found in several.items():
        if len(found) > 1 and "selection_seed" not in results.columns:
            means = {entrant: float(np.mean(list(given.costs[entrant].values()) or [np.nan])) for entrant in found}
            best = min(means, key=lambda entrant: means[entrant])
            text = (
                f"{len(found)} checkpoints of {label((policy, training_seed, ''))} are judged on the episodes of the test: the "
                f"best one, {best[2]}, has {means[best]:.4g}, their mean is {np.mean(list(means.values())):.4g}"
            )
            return failed("selection", f"{text}; choose on other episodes, and say so in a column selection_seed")
    if results.own:
        return passed("selection", "no training meets the episodes of a board, whose random keys are its own")
    if aside or others:
        return passed("selection", "the episodes of training and validation are not those of the test")
    if "selection_seed" in results.columns:
        return passed("selection", "checkpoints are chosen on seeds that are not those of the test")
    if all(_is_classical(entrant[0]) for entrant in given.entrants):
        return passed("selection", "no policy is trained, by the names")
    return not_run("selection", "no column split, selection_seed or checkpoint says how checkpoints were chosen")


def _interval(given: _Comparison) -> Finding:
    """Every mean has an interval."""
    if not given.results.summary:
        return passed("interval", "episodes are given: the intervals of the table below are computed from them")
    if given.results.intervals:
        return passed("interval", "every mean has an interval")
    return failed("interval", "means without an interval: a difference cannot be told from noise")


def _episodes(given: _Comparison) -> Finding:
    """There are enough episodes for intervals to hold, and for the differences to be found."""
    if given.results.summary:
        counts = [count for count in given.results.counts if np.isfinite(count)]
        if not counts:
            return not_run("episodes", "the table does not say how many episodes its means have")
    else:
        counts = [float(len(costs)) for costs in given.costs.values()]
    least = int(min(counts))
    text = f"{least:,} episodes or more for each policy"
    if given.compared:
        differences = list(given.compared.values())
        found = [smallest_difference(float(values.std(ddof=1)), len(values)) for values in differences]
        text += f"; differences of {np.median(found):.2g} to the reference can be found (median; 95 %, power 80 %)"
    if least < _FEW:
        return failed("episodes", f"{text}. Below {_FEW}, intervals are too narrow", episodes=least)
    return passed("episodes", text, episodes=least)


def _winner(given: _Comparison) -> Finding:
    """The best of many policies is still better after the correction for their number."""
    if given.results.summary:
        if given.results.own:
            return passed("winner", "the p-values of a board are Holm-adjusted over its policies")
        return not_run("winner", "the table has means only; audit the episodes")
    if not given.p_values:
        return not_run("winner", "no policy shares two episodes with the reference")
    best = min(given.compared, key=lambda entrant: float(given.compared[entrant].mean()))
    mean, (raw, adjusted) = float(given.compared[best].mean()), given.p_values[best]
    others, label = len(given.p_values), given.results.label(best)
    text = f"the best of {others}, {label}, differs by {mean:+.4g} from {given.results.label(given.reference)}"
    numbers = {"difference": mean, "p": raw, "p_holm": adjusted, "policies": others}
    if mean < 0.0 and raw <= _LEVEL < adjusted:
        blame = f"p = {raw:.2g} as if it were the only one, and {adjusted:.2g} as the best of {others} (Holm)"
        return failed("winner", f"{text}: {blame}", **numbers)
    better = mean < 0.0 and adjusted <= _LEVEL
    said = "better" if better else "not better beyond doubt"
    return passed("winner", f"{text}: {said}, p = {adjusted:.2g} after the correction (Holm)", **numbers)


def _failed_runs(given: _Comparison) -> Finding:
    """No failed run is left out of a mean."""
    if given.results.failures:
        return failed("failed runs", f"the board has no results of {', '.join(given.results.failures)}, which failed")
    lost = Counter(row.entrant for row in given.rows if not np.isfinite(row.cost))
    if not lost:
        return passed("failed runs", "every row has a finite cost")
    entrant, count = lost.most_common(1)[0]
    kept = np.array(list(given.costs[entrant].values()))
    text = f"{sum(lost.values())} of {len(given.rows)} rows have no cost: {count} of {given.results.label(entrant)}"
    if len(kept):
        worst = max(max(costs.values()) for costs in given.costs.values() if costs)
        filled = (kept.sum() + count * worst) / (len(kept) + count)
        text += f", whose mean is {kept.mean():.4g} without them, and {filled:.4g} if each costs what the worst episode does"
    return failed("failed runs", f"{text}: a mean over the runs that ended is too good", lost=sum(lost.values()))


RESULT_CHECKS: Final = {
    "duplicates": _duplicates,
    "paired": _paired,
    "training seeds": _training_seeds,
    "selection": _selection,
    "interval": _interval,
    "episodes": _episodes,
    "winner": _winner,
    "failed runs": _failed_runs,
}
"""The checks of results by name, in the order of the report."""


def _recomputed(given: _Comparison) -> tuple[str, list[dict[str, Any]]]:
    """Return means and paired differences with intervals, as text and as plain values."""
    cells, plain = [], []
    for entrant in given.entrants:
        values = np.array(list(given.costs[entrant].values()))
        row: dict[str, Any] = {"policy": given.results.label(entrant), "episodes": len(values)}
        if len(values):
            row["mean"] = float(values.mean())
        if len(values) > 1:
            row["low"], row["high"] = interval(bootstrap_means(values[None])[0])
        if entrant in given.compared and given.identified:
            differences = given.compared[entrant]
            row["difference"], row["shared"] = float(differences.mean()), len(differences)
            row["difference_low"], row["difference_high"] = interval(bootstrap_means(differences[None])[0])
            row["p"], row["p_holm"] = given.p_values[entrant]
        plain.append(row)
        cells.append([row["policy"], f"{row['episodes']:,}", _cell(row, ""), _cell(row, "difference"), _p_cell(row)])
    reference = given.results.label(given.reference)
    return text_table(["policy", "episodes", "cost [95 %]", f"minus {reference} [95 %]", "p (Holm)"], cells), plain


def _cell(row: Mapping[str, Any], name: str) -> str:
    """Return a mean with its interval."""
    mean, low, high = (f"{name}_{end}" if name else end for end in ("mean", "low", "high"))
    value = row.get(name or mean)
    if value is None:
        return "-"
    sign = "+" if name else ""
    ends = f" [{row[low]:{sign}.4g}, {row[high]:{sign}.4g}]" if low in row else ""
    return f"{value:{sign}.4g}{ends}"


def _p_cell(row: Mapping[str, Any]) -> str:
    """Return the adjusted p-value."""
    return "-" if "p_holm" not in row else "<0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
