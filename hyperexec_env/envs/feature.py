"""One number of the observation, as a record; and the features that show beliefs about what an episode does not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hyperexec_env.envs.situation import REGIME_LAW, Situation
from hyperexec_env.market.numeric import power
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.market.tables import Market

__all__ = [
    *("BELIEFS", "BELIEF_FEATURES", "PASSIVE_BELIEFS", "REGIME_BELIEFS", "Feature", "all_beliefs", "belief_names"),
    "follows",
]

_BIG: Final = 20.0
_PERCENT: Final = 1000.0
"""Largest drift that is shown, percent a day: the largest deviation that a scenario may state."""


class Feature(NamedTuple):
    """One number of the observation.

        def shares_per_slice(situation, known):
            return situation.remaining / situation.quantity / max(known.slices - situation.k, 1.0)

        Feature("per_slice", 0.0, 1.0, function=shares_per_slice, meaning="remaining shares per slice", unit="fraction")

    A user's function gets what the agent may see, as single numbers: the :class:`~hyperexec_env.envs.situation.Situation`
    without its market, and :data:`Known`. It is called at the end of an episode too, where shares may be 0 and k is at most N.
    """

    name: str
    low: float
    """Lower bound in the observation space."""
    high: float
    """Upper bound in the observation space."""
    table: Callable[[Market], Any] | None = None
    """Function of the market that returns values by slice and regime, broadcastable to (N + 1, M + 1); None: no table."""
    function: Callable[[Any, Any], Any] | None = None
    """A user's function (situation, known) -> the value, clipped to the bounds: see
    :func:`~hyperexec_env.envs.features.choose_features`."""
    meaning: str = ""
    """What a user's feature is, for the table of the observation."""
    unit: str = ""
    """Unit of a user's feature, for the table of the observation."""


def level_belief(situation: Situation, known: Any) -> Any:
    """Return the mean of the log level of the volume."""
    return situation.level_mean


def level_belief_sd(situation: Situation, known: Any) -> Any:
    """Return the standard deviation of the log level of the volume."""
    return power(situation.level_variance, 0.5)


def drift_belief(situation: Situation, known: Any) -> Any:
    """Return the mean of the drift against the order, percent a day."""
    return 100.0 * situation.side * situation.drift_mean


def drift_belief_sd(situation: Situation, known: Any) -> Any:
    """Return the standard deviation of the drift, percent a day."""
    return 100.0 * power(situation.drift_variance, 0.5)


def slope_belief(situation: Situation, known: Any) -> Any:
    """Return the mean of the temporary impact over that of the scenario."""
    return situation.slope_mean


def slope_belief_sd(situation: Situation, known: Any) -> Any:
    """Return the standard deviation of the temporary impact over that of the scenario."""
    return power(situation.slope_variance, 0.5)


def kyle_belief(situation: Situation, known: Any) -> Any:
    """Return the mean of Kyle's lambda over that of the scenario."""
    return situation.kyle_mean


def kyle_belief_sd(situation: Situation, known: Any) -> Any:
    """Return the standard deviation of Kyle's lambda over that of the scenario."""
    return power(situation.kyle_variance, 0.5)


_KYLE = "Kyle's lambda over that of the scenario given past flows and prices"
_SLOPE = "temporary impact over that of the scenario given own fills"
_LEVEL, _DRIFT = "log level of the volume given past volumes", "drift against the order given past prices"
BELIEFS: Final = {
    "volume_level_sd": (
        Feature("level_belief", -_BIG, _BIG, None, level_belief, f"mean of the {_LEVEL}", ""),
        Feature("level_belief_sd", 0.0, _BIG, None, level_belief_sd, f"standard deviation of the {_LEVEL}", ""),
    ),
    "drift_sd": (
        Feature("drift_belief", -_PERCENT, _PERCENT, None, drift_belief, f"mean of the {_DRIFT}", "% a day"),
        Feature("drift_belief_sd", 0.0, _PERCENT, None, drift_belief_sd, f"standard deviation of the {_DRIFT}", "% a day"),
    ),
    "temp_impact_sd": (
        Feature("slope_belief", 0.0, 2.0, None, slope_belief, f"mean of the {_SLOPE}", "ratio"),
        Feature("slope_belief_sd", 0.0, 1.0, None, slope_belief_sd, f"standard deviation of the {_SLOPE}", "ratio"),
    ),
    "kyle_sd": (
        Feature("kyle_belief", -_BIG, _BIG, None, kyle_belief, f"mean of {_KYLE}", "ratio"),
        Feature("kyle_belief_sd", 0.0, 1.0, None, kyle_belief_sd, f"standard deviation of {_KYLE}", "ratio"),
    ),
}
"""Features that show the belief about each unknown of a scenario, by its field."""
REGIME_BELIEFS: Final = {
    regime: Feature(
        field,
        0.0,
        1.0,
        None,
        eval(f"lambda situation, known: situation.{field}"),  # noqa: S307 - the text holds a name of ours
        f"probability of {regime} given past volumes, prices and order flows",
        "probability",
    )
    for regime, field in zip(REGIME_NAMES, REGIME_LAW, strict=True)
}
"""Feature that shows the probability of each regime (:mod:`~hyperexec_env.market.hidden`)."""
PASSIVE_BELIEFS: Final = (
    *(each for name, features in BELIEFS.items() if name != "temp_impact_sd" for each in features),
    *REGIME_BELIEFS.values(),
)
"""Beliefs that our trades do not move: all but that about the temporary impact, which own fills tell."""
BELIEF_FEATURES: Final = (*(feature for features in BELIEFS.values() for feature in features), *REGIME_BELIEFS.values())
"""These features, whose functions take numbers and arrays alike."""


def belief_names(unknown: Any) -> tuple[str, ...]:
    """Return the names of the features that show the beliefs about some unknowns."""
    return tuple(feature.name for name in unknown for feature in BELIEFS[name])


def all_beliefs(features: Any) -> bool:
    """Return whether all of some features show beliefs: none calls a function of a user."""
    return all(each in BELIEF_FEATURES for each in features)


def follows(features: Any) -> bool:
    """Return whether some features, records or names, show the probability of a regime."""
    names = {feature.name for feature in REGIME_BELIEFS.values()}
    return any((each if isinstance(each, str) else each.name) in names for each in features or ())
