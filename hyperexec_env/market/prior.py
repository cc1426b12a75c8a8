"""Prior moments of the impact of a market: those of the draws of its posterior, or of an error that is stated."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_number
from hyperexec_env.market.scenario import Scenario

__all__ = ["DEFAULT_SD", "QUANTITIES", "Moments", "impact_prior", "typical_participation"]

Floats = NDArray[np.float64]

DEFAULT_SD: Final = 0.5
"""Standard deviation of a number without draws, over the number: about the scatter of impact between stocks of one size."""
QUANTITIES: Final = {
    "alpha": ("temp_impact_alpha", "temp_impact_beta"),
    "lambda": ("kyle_lambda",),
    "gamma": ("perm_impact_gamma",),
    "kappa": ("kyle_lambda", "perm_impact_gamma"),
}
"""Uncertain quantities, each with the fields that it follows from."""


class Moments(NamedTuple):
    """Mean and covariance of some quantities, and where they come from."""

    mean: Floats
    """Shape (n,)."""
    covariance: Floats
    """Shape (n, n)."""
    source: str


def typical_participation(scenario: Scenario) -> float:
    """Return the order of a scenario over the volume expected while it trades, at most 1."""
    return min(1.0, scenario.quantity / (scenario.adv * sum(scenario.profile())))


def impact_prior(scenario: Scenario, names: tuple[str, ...], relative_sd: float | None = None) -> Moments:
    """Return the prior moments of some quantities among :data:`QUANTITIES`.

    "alpha" is the temporary impact at the scenario's own exponent. A draw with another exponent counts with the alpha that has
    the cost of the draw at :func:`typical_participation`.

    Args:
        scenario: The market.
        names: The quantities.
        relative_sd: Standard deviation over the mean of each quantity, independent of the others, in place of the draws; None:
            the draws, and :data:`DEFAULT_SD` for a quantity whose fields have none.

    Raises:
        ValueError: A name is unknown, or the deviation is not in [0, 10].
    """
    for name in names:
        check_choice("name", name, tuple(QUANTITIES))
    sd = DEFAULT_SD if relative_sd is None else check_number("impact_sd", relative_sd, low=0.0, high=10.0)
    mean = np.array([_values(scenario, name, {}) for name in names], dtype=float)
    covariance = np.diag((sd * mean) ** 2)
    drawn = _columns(scenario) if relative_sd is None else {}
    known = [at for at, name in enumerate(names) if any(field in drawn for field in QUANTITIES[name])]
    if known:
        sample = np.stack([_values(scenario, names[at], drawn) for at in known])
        mean[known] = sample.mean(axis=1)
        covariance[np.ix_(known, known)] = np.atleast_2d(np.cov(sample))
    texts = (
        [f"{len(scenario.posterior or ()):,} draws of the posterior: {', '.join(names[at] for at in known)}"] if known else []
    )
    assumed = [name for at, name in enumerate(names) if at not in known]
    kind = "assumed" if relative_sd is None else "given"
    texts += [f"{kind} standard deviation of {100.0 * sd:g} %: {', '.join(assumed)}"] if assumed else []
    return Moments(mean, covariance, "; ".join(texts))


def _columns(scenario: Scenario) -> dict[str, Floats]:
    """Return the draws of the fields of impact, those of multiples as numbers in arrival prices."""
    if scenario.posterior is None:
        return {}
    drawn = {name: np.array(column) for name, column in scenario.posterior.to_dict().items()}
    sigma: Any = drawn.get("volatility", scenario.volatility)
    for multiple, number in (("kyle_multiple", "kyle_lambda"), ("perm_impact_multiple", "perm_impact_gamma")):
        if multiple in drawn:
            drawn[number] = drawn[multiple] * sigma
    return drawn


def _values(scenario: Scenario, name: str, drawn: dict[str, Floats]) -> Any:
    """Return a quantity of each draw; of the scenario itself without draws."""
    values = [drawn.get(field, getattr(scenario, field)) for field in QUANTITIES[name]]
    if name == "alpha":
        return values[0] * typical_participation(scenario) ** (values[1] - scenario.temp_impact_beta)
    return values[0] - values[1] if name == "kappa" else values[0]
