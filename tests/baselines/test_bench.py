"""Speed benchmarks: how they measure and report, and the rows of the environments, the rollouts and the agent."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector.utils import batch_space

from hyperexec_env.baselines import bench as measured
from hyperexec_env.baselines.bench import agent_probes, command_probes, reading_probes, rollout_probes, spent_by, unknown_probes
from hyperexec_env.evaluation import bench as module
from hyperexec_env.evaluation.bench import LIMIT, REFERENCE, Probe, Row, bench, environment_probes, report, within

SECONDS = 0.002


@pytest.fixture(scope="module")
def rows():
    return bench(environment_probes(numba=False), rounds=1, seconds=SECONDS)


@pytest.fixture(scope="module")
def unknown_rows():
    return bench(unknown_probes(numba=False), rounds=1, seconds=SECONDS)


@pytest.fixture(scope="module")
def agent_rows():
    return bench(agent_probes(), rounds=1, seconds=SECONDS)


def readings(*values):
    """A measurement that returns one value after the other."""
    left = iter(values)
    return lambda seconds: next(left)


def test_every_measurement_has_a_reference(rows, unknown_rows, agent_rows):
    assert len({row.name for row in rows}) == len(rows)
    for row in (*rows, *unknown_rows, *agent_rows):
        assert row.rate > 0.0
        assert row.reference > 0.0
        assert row.ratio == pytest.approx(row.rate / row.reference)


def test_rows_that_need_an_extra_are_left_out_without_it():
    names = {probe.name for probe in environment_probes(numba=True)}
    compiled = {name for name in names if "numba" in name or name == "first vector step, warm cache"}
    assert {probe.name for probe in environment_probes(numba=False)} == names - compiled
    assert {probe.name for probe in environment_probes(numba=True, pictures=False)} == names - {"first frame of render()"}


def test_an_unknown_is_measured_beside_the_same_market_without_it(monkeypatch):
    """The reference differs in nothing else, and observes no belief."""
    asked = []
    monkeypatch.setattr(measured, "single_probe", lambda *given: asked.append(given))
    monkeypatch.setattr(measured, "kind_probes", lambda *given: asked.append(given[:-1]) or [])
    unknown_probes(numba=True)
    assert len(asked) == 5
    for _, _, against, ours, theirs in asked:
        assert ours.pop("observe_beliefs") is True
        if against == "nothing unknown":
            unknown, known = ours.pop("scenario"), theirs.pop("scenario")
            assert unknown.unknown
            assert not known.unknown
            assert replace(known, **unknown.unknown) == unknown
        assert ours == theirs


def test_compiled_lanes_with_unknowns_are_measured_where_numba_is_installed():
    compiled = {probe.name for probe in unknown_probes(numba=True)} - {probe.name for probe in unknown_probes(numba=False)}
    assert {name.rpartition(", ")[2] for name in compiled} == {"1,024 numba lanes"}
    assert len(compiled) == 3


def test_the_compiled_environment_is_measured_where_numba_is_installed():
    pytest.importorskip("numba", reason="needs the extra `fast`")
    probes = [
        probe for probe in environment_probes(numba=True) if probe.name.endswith("64 lanes") and "discrete" not in probe.name
    ]
    rows = bench(probes, rounds=1, seconds=SECONDS)
    assert [(row.against, row.unit) for row in rows] == [
        *[(REFERENCE, "steps/s")] * 2,
        ("lanes in step", "ns/lane"),
        (REFERENCE, "ns/lane"),
    ]
    assert all(row.rate > 0.0 and row.reference > 0.0 for row in rows)


def test_a_vector_environment_has_the_lanes_of_its_reference_and_one_thread(monkeypatch):
    class AskedFor(Exception):
        """Name and options of the environment."""

    def make_vec(name, **options):
        raise AskedFor(name, options)

    monkeypatch.setattr(module.gym, "make_vec", make_vec)
    asked = []
    for probe in environment_probes(numba=True):
        if "lanes" in probe.name and probe.against == REFERENCE:
            with pytest.raises(AskedFor) as ours:
                probe.ours(SECONDS)
            with pytest.raises(AskedFor) as theirs:
                probe.reference(SECONDS)
            ours, theirs = ours.value.args, theirs.value.args
            assert (ours[0], theirs[0]) == ("HyperExec-v0", "CartPole-v1")
            assert ours[1] == {**theirs[1], **{key: ours[1][key] for key in ours[1].keys() - theirs[1].keys()}}
            asked.append((ours[1]["num_envs"], ours[1]["backend"], ours[1].get("action_mode"), ours[1]["num_threads"]))
    each = (64, 1_024, 16_384)
    expected = [(lanes, "numba", mode, 1) for mode in (None, "discrete", None, None) for lanes in each]
    assert asked == [*expected, *[(1_000, "numpy", None, 1)] * 2]


class FakeLanes:
    """A vector environment that notes its actions; its step takes 2 s, reading the mask 1 s, whatever else 100 s."""

    def __init__(self, space, levels=0):
        self.num_envs, self.single_action_space, self.seconds, self.taken = 50, space, 0.0, []
        self.action_space, self.levels = batch_space(space, self.num_envs), levels
        self.rng = np.random.default_rng(1)

    def clock(self):
        return self.seconds

    def info(self):
        fake = self

        class Mask(np.ndarray):
            """Using it takes time, which is not that of reading it."""

            def __mul__(self, other):
                fake.seconds += 100.0
                return np.asarray(self) * other

        class Info(dict):
            """Reading it takes time."""

            def __getitem__(self, key):
                fake.seconds += 1.0
                return super().__getitem__(key)

        if not self.levels:
            return {}
        self.allowed = self.rng.random((self.num_envs, self.levels)) < 0.5
        self.allowed[:, 0] = True
        return Info(action_mask=self.allowed.astype(np.int8).view(Mask))

    def reset(self, seed):
        self.seconds += 100.0
        return None, self.info()

    def step(self, actions):
        self.seconds += 2.0
        self.taken.append(np.array(actions))
        if self.levels:
            assert self.allowed[np.arange(self.num_envs), actions].all()
        return None, None, None, None, self.info()


def fake_lanes(monkeypatch, space, chooser, levels=0):
    fake = FakeLanes(space, levels)
    monkeypatch.setattr(module.gym, "make_vec", lambda name, **options: fake)
    monkeypatch.setattr(module, "perf_counter", fake.clock)
    return fake, module._Lanes("fake", fake.num_envs, chooser)


def test_actions_are_uniform_over_the_whole_space_and_drawing_them_is_not_timed(monkeypatch):
    fake, lanes = fake_lanes(monkeypatch, gym.spaces.Box(-1.0, 1.0, (1,)), module._uniform)
    assert lanes.rate(1_000.0) == pytest.approx(fake.num_envs / 2.0)
    counts, _ = np.histogram(fake.taken, bins=20, range=(-1.0, 1.0))
    assert np.abs(counts / counts.mean() - 1.0).max() < 0.2


def test_discrete_actions_are_uniform_over_the_allowed_levels_and_reading_the_mask_is_timed(monkeypatch):
    fake, lanes = fake_lanes(monkeypatch, gym.spaces.Discrete(4), module._uniform_allowed, levels=4)
    assert lanes.rate(1_500.0) == pytest.approx(fake.num_envs / 3.0)
    counts = np.bincount(np.concatenate(fake.taken), minlength=4)
    first = sum(count / 8 / (1 + others) for others, count in enumerate((1, 3, 3, 1)))  # level 0 is always allowed
    assert counts / counts.sum() == pytest.approx([first, *[(1.0 - first) / 3] * 3], abs=0.02)


@pytest.mark.parametrize(("chooser", "together"), [(module._schedule, True), (module._uniform, False)])
def test_lanes_in_step_end_together_and_the_others_at_all_times(chooser, together):
    env = gym.make_vec("HyperExec-v0", num_envs=32, backend="numpy")
    env.reset(seed=0)
    choose = chooser(env)
    ended = [env.step(choose(None))[2].mean() for _ in range(60)]
    assert max(ended) > 0.0
    assert set(ended) == {0.0, 1.0} if together else max(ended) < 1.0


def test_the_agent_is_measured_in_steps_of_cartpole(agent_rows):
    goals = {row.name: (row.goal, row.better, row.unit, row.against) for row in agent_rows}
    assert goals == {
        "process() that makes 20 children": (20.0, "lower", "us", REFERENCE),
        "generation of 20 hidden children": (5.0, "lower", "us", REFERENCE),
        "impact estimate": (0.2, "lower", "us", REFERENCE),
        "status": (0.1, "lower", "us", REFERENCE),
        "process() that learns from a bin and plans anew": (1.0, "lower", "us", LIMIT),
        "route() of a child over four venues": (1.0, "lower", "us", LIMIT),
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


def test_rollouts_are_measured_beside_numpy_and_with_their_memory():
    pytest.importorskip("numba", reason="needs the extra `fast`")
    rows = bench(rollout_probes(episodes=100), rounds=1, seconds=SECONDS)
    assert [(row.unit, row.goal, row.better, row.against) for row in rows] == [
        ("slices/s", 13.0, "higher", "rollouts, numpy"),
        ("GB", 1.0, "lower", LIMIT),
    ]
    assert all(row.rate > 0.0 for row in rows)


def test_the_memory_of_a_command_is_its_own():
    """The process that starts the command holds more."""
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
        ("episodes/s", None, "higher", "--backend numpy"),
        ("GB", 1.0, "lower", LIMIT),
    ]
    assert all(row.rate > 0.0 for row in rows)


def test_reading_is_measured_in_a_process_of_its_own():
    pytest.importorskip("pyarrow", reason="needs the extra `data`")
    pytest.importorskip("exchange_calendars", reason="needs the extra `data`")
    rows = bench(reading_probes(share=1e-3), rounds=1, seconds=SECONDS)
    pair = [("s", 1.0, "lower", LIMIT), ("GB", 1.0, "lower", LIMIT)]
    assert [(row.unit, row.goal, row.better, row.against) for row in rows] == 5 * pair
    assert [row.name for row in rows[::2]] == [
        "reading 10,000 trades of csv",
        "reading 10,000 trades of parquet",
        "reading 1,000 bars of csv",
        "reading 1,000 bars of parquet",
        "tca of 100 executions",
    ]
    assert all(row.rate > 0.0 for row in rows)


@pytest.mark.parametrize(
    ("rounds", "seconds", "named"), [(0, 0.1, "rounds"), (1, 0.0, "seconds"), (1, float("nan"), "seconds")]
)
def test_bad_budgets_are_errors(rounds, seconds, named):
    with pytest.raises(ValueError, match=named):
        bench([], rounds=rounds, seconds=seconds)
