"""Calibration of stated probabilities: what is said to happen in seven tenths of the cases happens in seven tenths."""

import math

import numpy as np


def tenths_that_hold(said, here):
    """Check each tenth of some probabilities against what happened; return the number of tenths with enough cases.

    Frequency and mean probability of independent cases differ by less than four standard errors.
    """
    counted = 0
    for low in np.arange(0.0, 1.0, 0.1):
        cell = (said >= low) & (said < low + 0.1)
        if cell.sum() > 150:
            counted += 1
            spread = math.sqrt((said[cell] * (1.0 - said[cell])).mean() / cell.sum())
            assert abs((here[cell] - said[cell]).mean()) < 4.0 * spread + 1e-12, low
    return counted
