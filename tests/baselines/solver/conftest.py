"""What the tests of the solver share: each registered scenario is solved once."""

from __future__ import annotations

from functools import cache

import pytest

from hyperexec_env.baselines.solver import solve
from hyperexec_env.market.scenario import get_scenario


@pytest.fixture(scope="session")
def solution_of():
    """The solution of a registered scenario by its name; HYPEREXEC_CACHE hands it to the other processes of the run."""
    return cache(lambda name: solve(get_scenario(name)))
