r"""Almgren and Chriss (2000), section 4.3: a shift of the parameters at a known time, such as a scheduled announcement.

Until the time T* of the event the market has known parameters; then it has one of several sets of parameters, with known
probabilities :math:`p_j`. The trader holds :math:`X^*` shares at the event and continues with the static optimum of the branch
that occurred. With E and V of a branch at its optimum, the whole programme has

.. math:: E = E_0 + \sum_j p_j E_j, \qquad V = V_0 + \sum_j p_j V_j + \frac12\sum_{i,j} p_i p_j (E_i - E_j)^2

and :math:`X^*` minimises E + lambda V. The last term is the variance of the expected cost between the branches; the branches
do not trade against it. A scenario cannot represent the event (:func:`to_scenario`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

from hyperexec_env.checks import check_number, check_numbers
from hyperexec_env.execution import schedules

from .almgren_chriss import EXAMPLE as STEADY
from .almgren_chriss import AlmgrenChriss, Moments, trades, urgency

__all__ = ["EXAMPLE", "ParameterShift", "Programme", "moments", "optimum", "to_scenario"]

Floats = NDArray[np.float64]

_POINTS: Final = 41
"""Number of holdings at the event among which the search of the optimum begins."""


@dataclass(frozen=True)
class ParameterShift:
    """A sell programme whose market changes at a known time.

    Raises:
        ValueError: There is no branch, a drift is not 0, or the probabilities are not one number for each branch that sum to 1.
    """

    before: AlmgrenChriss
    """The order and the market until the event: X shares, T* days, N slices of them."""
    after: Sequence[AlmgrenChriss]
    """The market of each branch: the horizon is the time left after the event; the quantity is not used."""
    probabilities: Sequence[float]
    """Probability of each branch."""

    def __post_init__(self) -> None:
        """Validate the parameters."""
        after = tuple(self.after)
        chances = check_numbers("probabilities", self.probabilities, low=0.0, high=1.0, unit="probability", length=len(after))
        if not after or abs(sum(chances) - 1.0) > 1e-9:
            raise ValueError(f"probabilities must sum to 1 over the branches, got {chances}")
        for model in (self.before, *after):
            if model.drift:
                raise ValueError(f"drift must be 0 before and after the event, got {model.drift:g}")
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "probabilities", chances)


EXAMPLE: Final = ParameterShift(
    before=replace(STEADY, horizon=2.0, slices=2, volatility=STEADY.volatility * 10.0 / 30.0),
    after=tuple(replace(STEADY, horizon=3.0, slices=3, volatility=STEADY.volatility * year / 30.0) for year in (5.0, 40.0)),
    probabilities=(0.5, 0.5),
)
"""Figure 4 of the paper: the market of Table 1 with a volatility of 10 % a year, which falls to 5 % or rises to 40 % after the
close of the second day. The paper states no probabilities and prints no holdings; equal probabilities are ours."""


class Programme(NamedTuple):
    """An optimal sell programme with an event."""

    held: float
    """X*, shares held at the event."""
    moments: Moments
    """Mean and variance of the shortfall over all branches."""
    before: Floats
    """Holdings until the event, shares, shape (N + 1,)."""
    after: tuple[Floats, ...]
    """Holdings after the event in each branch, shares, each of shape (N_j + 1,)."""


def _first_stage(model: AlmgrenChriss, held: Any, risk_aversion: float) -> Floats:
    """Return the optimal holdings from X to the holdings at the event, shares, shape (N + 1, ...)."""
    weights = schedules.almgren_chriss(model.slices, urgency(model, risk_aversion) * model.tau)
    falling = 1.0 - np.append(0.0, np.cumsum(weights))
    falling[-1] = 0.0
    return np.asarray(np.multiply.outer(falling, np.full_like(held, model.quantity)) + np.multiply.outer(falling[::-1], held))


def _branch(model: AlmgrenChriss, held: Any, risk_aversion: float) -> tuple[Any, Any]:
    """Return mean and variance of the optimal sale of the shares held at the event, in the shape of `held`."""
    sold = trades(replace(model, quantity=1.0), risk_aversion)
    left = np.cumsum(sold[:0:-1])
    slope = 0.5 * model.gamma + model.eta_tilde / model.tau * float(sold @ sold)
    return model.epsilon * held + slope * held**2, model.volatility**2 * model.tau * float(left @ left) * held**2


def moments(model: ParameterShift, held: Any, risk_aversion: float) -> Moments:
    """Return mean and variance of the shortfall for given holdings at the event (Almgren and Chriss 2000, section 4.3).

    Both stages are the optimum of E + lambda V between their ends.

    Args:
        model: The order, and the market before and after the event.
        held: X*, shares: a number or an array.
        risk_aversion: lambda, 1 / currency.

    Raises:
        ValueError: The risk aversion is out of range.
    """
    check_number("risk_aversion", risk_aversion, low=0.0, high=1e6, unit="1 / currency")
    first, kept = model.before, np.asarray(held, dtype=float)
    path = _first_stage(first, kept, risk_aversion)
    sold = -np.diff(path, axis=0)
    expected = 0.5 * first.gamma * (first.quantity**2 - kept**2) + first.epsilon * abs(sold).sum(axis=0)
    expected = expected + first.eta_tilde / first.tau * (sold**2).sum(axis=0)
    variance = first.volatility**2 * first.tau * (path[1:] ** 2).sum(axis=0)
    means, variances = zip(*(_branch(branch, kept, risk_aversion) for branch in model.after), strict=True)
    chances = np.array(model.probabilities)
    mean = np.tensordot(chances, np.array(means), axes=1)
    between = np.tensordot(chances, (np.array(means) - mean) ** 2, axes=1)
    return Moments(expected + mean, variance + np.tensordot(chances, np.array(variances), axes=1) + between)


def optimum(model: ParameterShift, risk_aversion: float) -> Programme:
    """Return the programme with the holdings at the event that minimise E + lambda V (Almgren and Chriss 2000, section 4.3).

    Args:
        model: The order, and the market before and after the event.
        risk_aversion: lambda, 1 / currency.

    Raises:
        ValueError: The risk aversion is out of range.
    """

    def objective(held: Any) -> Floats:
        found = moments(model, held, risk_aversion)
        return np.asarray(found.expected + risk_aversion * found.variance)

    grid = np.linspace(0.0, model.before.quantity, _POINTS)
    best = int(np.argmin(objective(grid)))
    nodes = np.linspace(grid[max(best - 1, 0)], grid[min(best + 1, _POINTS - 1)], 5)
    quartic = Polynomial.fit(nodes, objective(nodes), 4)  # exact: the objective is a polynomial of degree 4
    roots = np.real(quartic.deriv().roots())
    candidates = np.append(grid[best], roots[(roots >= nodes[0]) & (roots <= nodes[-1])])
    held = float(candidates[np.argmin(objective(candidates))])
    ends = moments(model, held, risk_aversion)
    after = tuple(
        held * np.append(np.cumsum(trades(replace(branch, quantity=1.0), risk_aversion)[::-1])[::-1], 0.0)
        for branch in model.after
    )
    before = _first_stage(model.before, np.asarray(held), risk_aversion)
    return Programme(held, Moments(float(ends.expected), float(ends.variance)), before, after)


def to_scenario(model: ParameterShift, **_: Any) -> NoReturn:
    """Refuse to convert a programme with an event.

    Raises:
        ValueError: Always: the regimes of a scenario change at random times.
    """
    raise ValueError(
        "a shift of the parameters must happen at a known time, but the regimes of a scenario change at random times; map "
        "each stage by almgren_chriss.to_scenario"
    )
