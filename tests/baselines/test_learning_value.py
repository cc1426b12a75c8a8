"""The comparison of the desk with and without estimates, run as its user runs it, on a few days."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEC = importlib.util.spec_from_file_location("learning", BENCHMARKS / "learning.py")
learning = sys.modules["learning"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(learning)


def table(capsys, *words):
    learning.main([*words, "--risks", "1e-6", "--algorithms", "VWAP", "AC"])
    return capsys.readouterr().out.strip().splitlines()[2:]


def test_simulated_days_compare_each_algorithm_with_itself(capsys):
    rows = table(capsys, "almgren-chriss", "--episodes", "3")
    assert [row.split()[4] for row in rows] == ["VWAP", "AC", "VWAP", "AC"]
    assert "+0.000 [+0.000, +0.000]" in rows[0]  # a level moves all volumes alike, and with it no weight of VWAP


def test_real_days_are_those_after_the_training_days(capsys):
    pytest.importorskip("exchange_calendars", reason="needs the extra `data`")
    rows = table(capsys, "--bars", str(BENCHMARKS / "example_bars.csv"), "--train", "0.6", "--purged", "0")
    assert len(rows) == 2
    assert all("days, level sd" in row for row in rows)


def test_one_training_day_has_no_level(capsys):
    pytest.importorskip("exchange_calendars", reason="needs the extra `data`")
    with pytest.raises(SystemExit):
        table(capsys, "--bars", str(BENCHMARKS / "example_bars.csv"), "--train", "0.4", "--purged", "0")
    assert "train must leave at least 2 days with a past for the level of the volume, got 1" in capsys.readouterr().err


def test_a_level_that_is_told_is_no_longer_learned():
    args = learning.Args(scenario="almgren-chriss", episodes=2, risks=(1e-6,))
    case = next(learning.simulated(args))
    assert case.levels == pytest.approx(case.path.world.volume_level[0])
    plain, learn, told = learning.objectives(case, "AC")
    assert np.ptp([plain, learn, told], axis=0).max() > 0.0
