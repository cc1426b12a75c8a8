"""Checks of the costs of an environment: slices halved, bursts and random trades against the steady pace.

Comparisons are paired by seed. A check fails if a difference is significant at a level whose false alarms, over all its
comparisons (Bonferroni), have a probability of at most 0.1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.audit.adapter import Adapter
from hyperexec_env.audit.episodes import Plan, evenly, in_bursts, play, randomly
from hyperexec_env.audit.findings import FALSE_ALARM, Finding, failed, not_run, passed
from hyperexec_env.audit.settings import Settings
from hyperexec_env.evaluation.statistics import ROUNDING, bootstrap_means, interval, p_value, smallest_difference

__all__ = ["check_bursts", "check_halving", "check_random", "paired_text"]

Floats = NDArray[np.float64]

_BURSTS: Final = {2: "2nd", 3: "3rd", 5: "5th"}
"""Intervals between the children of bursts, in slices, and their words."""
_HALVINGS: Final = 3
_MARGIN: Final = 0.05
"""Largest change of a cost by the last halving, as a fraction of the cost: a first-order error is far below it after three
halvings, and a power of the slice, such as its square root, far above."""
_Z: Final = 3.29
"""Standard errors of a two-sided test with a probability of a false alarm of 0.1 %."""


class _Untraded(ValueError):
    """An episode left shares of the order, so that its cost is not the cost of the order."""


def _costs(adapter: Adapter, make: Callable[[], Any], settings: Settings, plan: Callable[[int], Plan]) -> Floats:
    """Return the cost of a plan in the episode of each seed, shape (episodes,).

    Raises:
        _Untraded: An episode does not end, or leaves shares.
    """
    found = np.empty(settings.episodes)
    for place, seed in enumerate(settings.seeds(settings.episodes)):
        episode = play(adapter, make(), seed, plan(seed), brief=True)
        if not episode.ended or episode.cost is None:
            raise _Untraded(f"the episode of seed {seed} does not end")
        if episode.remaining[-1] > 1e-6 * episode.remaining[0]:
            raise _Untraded(
                f"the episode of seed {seed} leaves {episode.remaining[-1]:.6g} shares, so that costs do not compare"
            )
        found[place] = episode.cost
    return found


def paired_text(differences: Floats, unit: str) -> str:
    """Return the mean of paired differences with its 95 % interval as text."""
    low, high = interval(bootstrap_means(differences[None])[0])
    return f"{differences.mean():+.4g} [{low:+.4g}, {high:+.4g}] {unit}"


def _against_steady(
    name: str, adapter: Adapter, settings: Settings, rivals: list[tuple[str, Callable[[int], Plan]]], blame: str
) -> Finding:
    """Check that no rival is significantly cheaper than the steady pace on the same seeds."""
    try:
        steady = _costs(adapter, adapter.make, settings, lambda seed: evenly)
        differences = {rival: _costs(adapter, adapter.make, settings, plan) - steady for rival, plan in rivals}
    except _Untraded as reason:
        return not_run(name, str(reason))
    level = FALSE_ALARM / len(rivals)
    texts, winners, least, numbers = [], [], [], {}
    for rival, difference in differences.items():
        mean, p = float(difference.mean()), p_value(difference)
        texts.append(f"{rival}: {paired_text(difference, adapter.unit)}")
        numbers[rival] = {"difference": mean, "p": p}
        if mean < -ROUNDING and p <= level:
            winners.append(f"{rival}, p = {p:.2g}")
        least.append(smallest_difference(float(difference.std(ddof=1)), len(difference)))
    head = f"cost minus that of the steady pace ({steady.mean():.4g} {adapter.unit})"
    listed = "; ".join(texts)
    if winners:
        return failed(name, f"{head}: {listed}. Cheaper beyond doubt: {', '.join(winners)}: {blame}", **numbers)
    return passed(name, f"{head}: {listed}; differences of {max(least):.2g} {adapter.unit} can be found", **numbers)


def check_bursts(adapter: Adapter, settings: Settings) -> Finding:
    """Trading every j-th slice is not cheaper than the steady pace (a concave cost that persists pays for lumps)."""
    slices = adapter.slices_of(adapter.make())
    rivals = [(f"every {word} slice", in_bursts(every)) for every, word in _BURSTS.items() if 2 * every <= slices]
    if not rivals:
        return not_run("bursts", f"an order of {slices} slices has no bursts")
    plans: list[tuple[str, Callable[[int], Plan]]] = [(name, lambda seed, plan=plan: plan) for name, plan in rivals]  # type: ignore[misc]
    return _against_steady("bursts", adapter, settings, plans, "the cost model pays for lumps")


def check_random(adapter: Adapter, settings: Settings) -> Finding:
    """Random trades are not cheaper than the steady pace."""
    rivals: list[tuple[str, Callable[[int], Plan]]] = [("random multiples of it", randomly)]
    return _against_steady("random", adapter, settings, rivals, "a policy that knows nothing beats TWAP")


def check_halving(adapter: Adapter, settings: Settings) -> Finding:
    """The cost of the steady pace converges as slices are halved, to a limit that is not zero."""
    assert adapter.sliced is not None  # noqa: S101 - the check needs it
    sliced, slices = adapter.sliced, adapter.slices_of(adapter.make())
    cuts = [slices * 2**step for step in range(_HALVINGS + 1)]
    for cut in cuts:
        made = adapter.slices_of(sliced(cut))
        if made != cut:
            return not_run("halving", f"the environment of sliced({cut}) has {made} slices")
    try:
        costs = [_costs(adapter, lambda cut=cut: sliced(cut), settings, lambda seed: evenly) for cut in cuts]  # type: ignore[misc]
    except _Untraded as error:
        return not_run("halving", str(error))
    means = [float(values.mean()) for values in costs]
    last, before = costs[-1], costs[-2]
    change = float(np.mean(last - before))
    paired = float(np.std(last - before, ddof=1))
    width = _Z * paired / math.sqrt(settings.episodes)
    scale = _MARGIN * abs(means[-1])
    listed = ", ".join(f"{mean:.4g}" for mean in means)
    text = (
        f"the steady pace costs {listed} {adapter.unit} in {', '.join(map(str, cuts))} slices; the last halving changes it by "
        f"{100.0 * change / abs(means[-1] or 1.0):+.1f} % +- {100.0 * width / abs(means[-1] or 1.0):.1f} %"
    )
    numbers = {"slices": cuts, "costs": means, "change": change, "width": width}
    if abs(change) - width > max(scale, ROUNDING):
        return failed("halving", f"{text}: the cost depends on the length of a slice", **numbers)
    if abs(change) + width > max(scale, ROUNDING):
        more = math.ceil(settings.episodes * (width / max(scale - abs(change), 0.2 * scale, 1e-12)) ** 2)
        reason = f"{text}, which is not enough to say whether it is within 5 %; try --episodes {more}"
        return not_run("halving", reason, **numbers)
    return passed("halving", f"{text}, within 5 %", **numbers)
