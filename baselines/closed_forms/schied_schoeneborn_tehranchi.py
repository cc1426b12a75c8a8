r"""Schied, Schoeneborn and Tehranchi (2010), "Optimal basket liquidation for CARA investors is deterministic".

An investor with the utility :math:`-e^{-Ar}` of the revenue r (constant absolute risk aversion A) sells in the market of
Almgren and Chriss (2000). The paper's main result: among all strategies, including those that react to the price, a
deterministic one is optimal. The cost C of a deterministic strategy is normal, so its certainty equivalent

.. math:: \frac1A \log E\,e^{AC} = E[C] + \frac A2 \operatorname{Var}[C]

is the objective of Almgren and Chriss with :math:`\lambda = A / 2`, and their optimal trades are optimal.

The functions take the market of :class:`~hyperexec_env.baselines.closed_forms.almgren_chriss.AlmgrenChriss`, in discrete time.
With A = 2e-6 the example of Almgren and Chriss has their lambda of 1e-6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_number
from hyperexec_env.market.scenario import Scenario

from . import almgren_chriss
from .almgren_chriss import AlmgrenChriss

__all__ = ["certainty_equivalent", "mean_variance_aversion", "optimum", "to_scenario", "trades"]

Floats = NDArray[np.float64]


def mean_variance_aversion(absolute_aversion: float) -> float:
    """Return the weight of the variance, lambda = A / 2, for which mean and variance give the investor's optimum, 1 / currency.

    Args:
        absolute_aversion: A, absolute risk aversion, 1 / currency.

    Raises:
        ValueError: A is out of range.
    """
    return 0.5 * check_number("absolute_aversion", absolute_aversion, low=0.0, high=2e6, unit="1 / currency")


def certainty_equivalent(model: AlmgrenChriss, trades: Sequence[float] | Floats, absolute_aversion: float) -> float:
    """Return the sure cost that the investor accepts instead of the random cost of a trade list, currency.

    Args:
        model: The market and the order.
        trades: Shares sold in each slice, shape (N,), summing to the quantity.
        absolute_aversion: A, 1 / currency; for A = 0 the certainty equivalent is the expected cost.

    Raises:
        ValueError: The trades are not N numbers that sum to the quantity, or A is out of range.
    """
    weight = mean_variance_aversion(absolute_aversion)
    return almgren_chriss.expected_cost(model, trades) + weight * almgren_chriss.variance(model, trades)


def trades(model: AlmgrenChriss, absolute_aversion: float) -> Floats:
    """Return the optimal trade list, shares, shape (N,).

    Raises:
        ValueError: A is out of range.
    """
    return almgren_chriss.trades(model, mean_variance_aversion(absolute_aversion))


def optimum(model: AlmgrenChriss, absolute_aversion: float) -> float:
    """Return the smallest certainty equivalent over all strategies, deterministic or not, currency.

    Raises:
        ValueError: A is out of range.
    """
    weight = mean_variance_aversion(absolute_aversion)
    expected, variance = almgren_chriss.optimum(model, weight)
    return float(expected + weight * variance)


def to_scenario(model: AlmgrenChriss, absolute_aversion: float, **values: Any) -> Scenario:
    """Return the model as a scenario whose objective, plus the permanent cost, is the certainty equivalent of a schedule.

    Args:
        model: The market and the order.
        absolute_aversion: A, 1 / currency.
        **values: Other arguments of :func:`~hyperexec_env.baselines.closed_forms.almgren_chriss.to_scenario`.

    Raises:
        ValueError: A value is out of range.
    """
    return almgren_chriss.to_scenario(model, mean_variance_aversion(absolute_aversion), **values)
