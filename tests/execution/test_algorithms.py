"""Execution algorithms: weights of every registered algorithm, and the choice of Adaptive by regime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, Outlook, algorithm_names, check_algorithm, resolve

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", ALGORITHMS)
@given(intervals=st.integers(1, 60), urgency=st.floats(0.0, 1.0), rate=st.floats(0.0, 5.0))
def test_weights_are_never_negative_and_sum_to_one(name, intervals, urgency, rate):
    weights = ALGORITHMS[name](Outlook(intervals, urgency, np.arange(1, intervals + 1), rate))
    assert weights.shape == (intervals,)
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_adaptive_depends_on_the_regime():
    for regime, choice in [
        ("BULL_TRENDING", ("IS", 7)), ("SIDEWAYS_LOW", ("IS", 7)), ("RECOVERY", ("IS", 7)),
        ("CRISIS", ("TWAP", 20)), ("SIDEWAYS_HIGH", ("TWAP", 20)), ("BEAR_TRENDING", ("TWAP", 10)), ("UNKNOWN", ("TWAP", 10)),
    ]:  # fmt: skip
        assert resolve(ADAPTIVE, regime, 7) == choice


def test_other_algorithms_do_not_depend_on_the_regime():
    for name in ALGORITHMS:
        assert {resolve(name, regime, 7) for regime in ("CRISIS", "BULL_TRENDING", "UNKNOWN")} == {(name, 7)}


def test_an_unknown_algorithm_names_the_nearest_one():
    assert algorithm_names() == ("TWAP", "VWAP", "IS", "AC", "POV", "Adaptive")
    with pytest.raises(ValueError, match=r"algorithm must be one of .*, got 'TWP'; did you mean 'TWAP'\?"):
        check_algorithm("algorithm", "TWP")


def test_an_empty_volume_profile_means_flat():
    for name in ("VWAP", "POV"):
        assert ALGORITHMS[name](Outlook(4)) == pytest.approx([0.25] * 4)
