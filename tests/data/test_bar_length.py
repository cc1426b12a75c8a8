"""The length of bars is found for thin shares, whose bars are many lengths apart, and for bars aligned to the clock."""

import numpy as np
import pyarrow
import pytest

from hyperexec_env.data.reader import read_bars


def frame(minutes):
    """Return a frame of bars at some minutes of each of ten days."""
    stamps = [
        np.datetime64("2024-03-04T00:00", "us") + np.timedelta64(1440 * day + int(minute), "m")
        for day, chosen in enumerate(minutes)
        for minute in chosen
    ]
    ones = np.ones(len(stamps))
    return pyarrow.table({"ts": np.array(stamps), **dict.fromkeys(("open", "high", "low", "close", "volume"), ones)})


@pytest.mark.parametrize("traded", [0.9, 0.3, 0.1, 0.02])
@pytest.mark.parametrize("step", [1, 5])
def test_a_thin_share_has_bars_of_its_length(step, traded):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        grid = np.arange(570, 960, step)
        days = [grid[rng.random(len(grid)) < traded] for _ in range(10)]
        if sum(map(len, days)) > 12:
            assert read_bars(frame(days)).minutes == step


def test_hours_that_are_aligned_to_the_clock_are_hours():
    assert read_bars(frame([[570, *range(600, 960, 60)]] * 10)).minutes == 60


def test_a_bar_starts_its_length_before_its_end_and_a_day_at_its_date():
    for bars, length in ((read_bars(frame([range(570, 960, 5)] * 2)), 5), (read_bars(frame([[0]] * 5)), 0)):
        assert (bars.starts("start") == bars.time).all()
        assert (bars.time - bars.starts("end") == length * 60 * 10**9).all()


def test_bars_of_another_length_are_refused():
    with pytest.raises(ValueError, match="bars must be 1, 2, 3, 5, 10, 15, 20, 30, 60 minutes or a day long, got 4 minutes"):
        read_bars(frame([range(570, 960, 4)] * 10))
