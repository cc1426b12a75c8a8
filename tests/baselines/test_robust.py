"""The comparison of robust and usual policies, run as its user runs it, without a training."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.baselines.solver import schedule_bps
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.scenario import get_scenario

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

SPEC = importlib.util.spec_from_file_location("robust", Path(__file__).parents[2] / "benchmarks" / "robust.py")
robust = sys.modules["robust"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(robust)

DAY = replace(get_scenario("regime-day"), slices=4, posterior={"resilience": [2.0, 20.0, 200.0], "adv": [4e6, 5e6, 6e6]})


def test_the_comparison_prints_what_robustness_costs_and_gains(tmp_path, capsys):
    (tmp_path / "day.toml").write_text(DAY.to_toml())
    robust.main([str(tmp_path / "day.toml"), "--seeds", "0", "--episodes", "2000", "--draw-episodes", "500"])
    *_, row = capsys.readouterr().out.strip().split("\n")
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "best fixed schedule"
    usual, other = robust.schedules(DAY)
    means = [np.mean([schedule_bps(draw, fractions=each.fractions) for draw in draws_of(DAY)]) for each in (usual, other)]
    points = [schedule_bps(DAY, fractions=each.fractions) for each in (usual, other)]
    assert points[0] < points[1]
    assert means[1] < means[0]
    assert [float(cells[at]) for at in (1, 2)] == pytest.approx(points, rel=0.02)
    assert [float(cells[at]) for at in (4, 5)] == pytest.approx(means, rel=0.02)
    assert float(cells[3].split()[0]) > 0.0 > float(cells[6].split()[0])
