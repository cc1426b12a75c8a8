"""The bench: what it measures, and how it reports."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from baselines import bench as module
from baselines.bench import Args, agent_probes, main
from hyperexec_env.evaluation.bench import Probe, Row, bench, environment_probes, report

KEYS = {"name", "rate", "unit", "reference", "ratio", "goal", "better"}


@pytest.fixture(scope="module")
def rows():
    return bench(environment_probes(), rounds=1, seconds=0.002)


@pytest.fixture(scope="module")
def agent_rows():
    return bench(agent_probes(), rounds=1, seconds=0.002)


def test_every_measurement_has_a_reference(rows):
    assert len({row.name for row in rows}) == len(rows) == 6
    for row in rows:
        assert row.rate > 0.0
        assert row.reference > 0.0
        assert row.ratio == pytest.approx(row.rate / row.reference)


def test_goals_are_those_of_the_design(rows):
    goals = {row.name: (row.goal, row.better) for row in rows}
    assert goals["single environment"] == (2.5, "higher")
    assert goals["vector environment, 1,000 lanes"] == (0.6, "higher")
    assert goals["import"] == (1.3, "lower")


def test_the_agent_is_measured_in_steps_of_cartpole(agent_rows):
    goals = {row.name: (row.goal, row.better, row.unit) for row in agent_rows}
    assert goals == {
        "process() that makes 20 children": (20.0, "lower", "us"),
        "generation of 20 hidden children": (5.0, "lower", "us"),
        "impact estimate": (0.2, "lower", "us"),
        "status": (0.1, "lower", "us"),
    }
    for row in agent_rows:
        assert row.ratio == pytest.approx(row.rate / row.reference)
        assert 0.0 < row.rate < 1e6


def test_reached_looks_in_the_right_direction():
    def row(ratio, goal, better):
        return Row("x", 1.0, "s", 1.0, ratio, goal, better)

    assert row(2.0, 1.0, "higher").reached is True
    assert row(2.0, 1.0, "lower").reached is False
    assert row(2.0, None, "lower").reached is None


def test_medians_over_the_rounds():
    # ours, reference; reference, ours; ours, reference
    probe = Probe("x", "steps/s", None, "higher", lambda s: next(values), lambda s: next(values))
    warm = iter([0.0, 0.0])
    values = iter([*warm, 1.0, 2.0, 8.0, 4.0, 3.0, 3.0])
    (row,) = bench([probe], rounds=3, seconds=1.0)
    assert (row.rate, row.reference, row.ratio) == (3.0, 3.0, 0.5)


def test_table_names_every_row(rows):
    text = report(rows)
    assert all(row.name in text for row in rows)
    assert "CartPole-v1" in text


def test_json_carries_the_rows(monkeypatch, tmp_path, capsys, rows):
    monkeypatch.setattr(module, "bench", lambda probes, rounds, seconds: rows)
    path = tmp_path / "bench.json"
    numbers = main(Args(rounds=1, seconds=0.1, json=str(path)))
    assert json.loads(path.read_text()) == numbers
    assert all(set(row) == KEYS for row in numbers["rows"])
    assert "single environment" in capsys.readouterr().out
    main(Args(rounds=1, seconds=0.1, json="-"))
    assert json.loads(capsys.readouterr().out) == numbers


def test_every_option_is_explained():
    assert all(item.metadata["help"] for item in fields(Args))


@pytest.mark.parametrize(
    ("rounds", "seconds", "named"), [(0, 0.1, "rounds"), (1, 0.0, "seconds"), (1, float("nan"), "seconds")]
)
def test_bad_budgets_are_errors(rounds, seconds, named):
    with pytest.raises(ValueError, match=named):
        bench([], rounds=rounds, seconds=seconds)
