"""Fixtures of the solver tests: each registered scenario is solved once."""

from __future__ import annotations

from functools import cache

import pytest

from hyperexec_env.baselines.solver import solve
from hyperexec_env.market.scenario import get_scenario


@pytest.fixture(scope="session")
def solution_of():
    """Function from the name of a registered scenario to its solution; processes share solutions through HYPEREXEC_CACHE."""
    return cache(lambda name: solve(get_scenario(name)))
