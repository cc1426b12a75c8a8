"""The bench: how it measures and reports, and what it measures of the environments and of the agent."""

from __future__ import annotations

import resource
import sys

import pytest

from hyperexec_env.baselines.bench import agent_probes, command_probes, rollout_probes, spent_by
from hyperexec_env.evaluation import bench as module
from hyperexec_env.evaluation.bench import LIMIT, REFERENCE, Probe, Row, bench, environment_probes, report, within

SECONDS = 0.002


@pytest.fixture(scope="module")
def rows():
    return bench(environment_probes(numba=False), rounds=1, seconds=SECONDS)


@pytest.fixture(scope="module")
def agent_rows():
    return bench(agent_probes(), rounds=1, seconds=SECONDS)


def readings(*values):
    """A measurement that returns one value after the other."""
    left = iter(values)
    return lambda seconds: next(left)


def test_every_measurement_has_a_reference(rows, agent_rows):
    assert len({row.name for row in rows}) == len(rows)
    for row in (*rows, *agent_rows):
        assert row.rate > 0.0
        assert row.reference > 0.0
        assert row.ratio == pytest.approx(row.rate / row.reference)


def test_every_compiled_row_has_one_in_numpy():
    numba, numpy = ({probe.name for probe in environment_probes(numba)} for numba in (True, False))
    vectors = {name for name in numba if name.startswith("make_vec, numba")}
    assert numpy - numba == set()
    assert numba - numpy == {*vectors, "first vector step, warm cache"}
    assert {name.replace("numba", "numpy") for name in vectors} == {name for name in numpy if name.startswith("make_vec")}


def test_the_compiled_environment_is_measured_where_numba_is_installed():
    pytest.importorskip("numba", reason="needs the extra `fast`")
    probes = [probe for probe in environment_probes(numba=True) if probe.name == "make_vec, numba, 64 lanes"]
    (row,) = bench(probes, rounds=1, seconds=SECONDS)
    assert (row.against, row.unit) == (REFERENCE, "steps/s")
    assert row.rate > 0.0


def test_a_vector_environment_is_asked_for_its_backend_on_one_thread(monkeypatch):
    class Asked(Exception):
        """With what."""

    def make_vec(name, **options):
        raise Asked(options)

    monkeypatch.setattr(module.gym, "make_vec", make_vec)
    backends = []
    for probe in environment_probes(numba=True):
        if probe.name.startswith("make_vec"):
            with pytest.raises(Asked) as ours:
                probe.ours(SECONDS)
            with pytest.raises(Asked) as theirs:
                probe.reference(SECONDS)
            backends.append(probe.name.split()[1].rstrip(","))
            assert ours.value.args[0] == {**theirs.value.args[0], "backend": backends[-1], "num_threads": 1}
    assert backends == ["numba"] * 4 + ["numpy"] * 4


def test_the_agent_is_measured_in_steps_of_cartpole(agent_rows):
    goals = {row.name: (row.goal, row.better, row.unit, row.against) for row in agent_rows}
    assert goals == {
        "process() that makes 20 children": (20.0, "lower", "us", REFERENCE),
        "generation of 20 hidden children": (5.0, "lower", "us", REFERENCE),
        "impact estimate": (0.2, "lower", "us", REFERENCE),
        "status": (0.1, "lower", "us", REFERENCE),
    }
    assert all(0.0 < row.rate < 1e6 for row in agent_rows)


def test_reached_looks_in_the_right_direction():
    def row(ratio, goal, better):
        return Row("x", 1.0, "s", 1.0, ratio, goal, better)

    assert row(2.0, 1.0, "higher").reached is True
    assert row(2.0, 1.0, "lower").reached is False
    assert row(2.0, None, "lower").reached is None


def test_an_absolute_goal_is_reached_up_to_its_limit():
    probes = [within("x", "s", 0.7, readings(0.0, value)) for value in (0.5, 0.7, 0.8)]
    rows = bench(probes, rounds=1)
    assert [row.reached for row in rows] == [True, True, False]
    assert [(row.rate, row.reference, row.against) for row in rows] == [(value, 0.7, LIMIT) for value in (0.5, 0.7, 0.8)]


def test_ratios_are_formed_within_a_round():
    # warm-up, then ours, reference; reference, ours; ours, reference: the medians of ours and of the reference are equal,
    # that of the ratios of the rounds is not one
    values = readings(0.0, 0.0, 1.0, 2.0, 8.0, 4.0, 3.0, 3.0)
    (row,) = bench([Probe("x", "steps/s", None, "higher", values, values)], rounds=3, seconds=1.0)
    assert (row.rate, row.reference, row.ratio) == (3.0, 3.0, 0.5)


def test_what_is_measured_once_is_not_repeated_and_not_warmed_up():
    once = Probe("once", "s", None, "lower", readings(1.0), readings(4.0), once=True)
    again = Probe("again", "s", None, "lower", readings(9.0, 2.0, 2.0), readings(9.0, 2.0, 2.0))
    assert [row.ratio for row in bench([once, again], rounds=2)] == [0.25, 1.0]


def test_the_table_names_every_row_its_reference_and_whether_it_is_reached():
    rows = [
        Row("fast", 250_000.0, "steps/s", 100_000.0, 2.5, 2.5, "higher"),
        Row("slow", 1.0, "s", 0.7, 1.0 / 0.7, 1.0, "lower", LIMIT),
        Row("free", 3.0, "us", 4.0, 0.75, None, "lower", "another"),
    ]
    lines = report(rows).splitlines()[1:]
    assert [line.split() for line in lines[:3]] == [
        ["fast", "250,000", "100,000", "steps/s", "2.50", ">=", "2.5", "reached", REFERENCE],
        ["slow", "1.000", "0.700", "s", "1.43", "<=", "1", "missed", "the", "limit"],
        ["free", "3.000", "4.000", "us", "0.75", "another"],
    ]


def test_rollouts_are_compared_with_the_best_number_of_lanes(monkeypatch):
    rates = {1_000: 5.0, 4_096: 7.0, 16_384: 6.0}
    monkeypatch.setattr(module, "_vector", lambda name, lanes, reach, **options: lambda seconds: rates[lanes])
    assert rollout_probes()[0].reference(SECONDS) == 7.0


def test_the_memory_of_a_command_is_its_own():
    """Not that of the process which starts it, which is larger."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    seconds, small = spent_by([sys.executable, "-S", "-c", "pass"])
    _, large = spent_by([sys.executable, "-S", "-c", "held = b'x' * 200_000_000"])
    assert small < 0.5 * here
    assert large == pytest.approx(small + 0.2, abs=0.01)
    assert 0.0 < seconds < 60.0


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match="failed: this is why"):
        spent_by([sys.executable, "-S", "-c", "raise SystemExit('this is why')"])


def test_evaluate_is_measured_as_its_user_runs_it():
    pytest.importorskip("numba", reason="needs the extra `fast`")
    rows = bench(command_probes(episodes=100), rounds=2, seconds=SECONDS)
    assert [(row.unit, row.goal, row.better, row.against) for row in rows] == [
        ("episodes/s", 7.0, "higher", "--backend numpy"),
        ("GB", 1.0, "lower", LIMIT),
    ]
    assert all(row.rate > 0.0 for row in rows)


@pytest.mark.parametrize(
    ("rounds", "seconds", "named"), [(0, 0.1, "rounds"), (1, 0.0, "seconds"), (1, float("nan"), "seconds")]
)
def test_bad_budgets_are_errors(rounds, seconds, named):
    with pytest.raises(ValueError, match=named):
        bench([], rounds=rounds, seconds=seconds)
