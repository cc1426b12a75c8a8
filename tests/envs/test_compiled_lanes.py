"""Compiled lanes: no number of threads or lanes changes a bit, and copies of an environment go their own way.

That lane i is the single environment is tested in `test_vector.py`; the reference here is numpy.
"""

from __future__ import annotations

import copy
import pickle
import platform
import re
from importlib.util import find_spec

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.compiled import compiler
from hyperexec_env.backends.layout import TILE
from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.vector import HyperExecVectorEnv

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
every_backend = pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=needs_numba)])

FULL = {
    "base": "trending-day",
    "name": "full",
    "temp_impact_beta": 0.5,
    "predator": 0.3,
    "flow_persistence": 0.5,
    "complete": False,
    "max_participation": 0.1,
    "volume_level_sd": 0.4,
    "volume_persistence": 0.4,
    "drift_sd": 0.02,
    "temp_impact_sd": 0.3,
    "volatility_curve": [1.6, 0.8, 0.7, 1.2],
}
FULLEST = {
    "scenario": FULL,
    "action_mode": "discrete",
    "random_side": True,
    "quantity_range": (0.5, 2.0),
    "observe_regime": False,
    "reward": "realised",
}
"""The fullest program of `test_vector.py`: every lane has its own order, a signal and a predator's memory."""


def draw_actions(env, rng):
    """The first lanes wait for the deadline, the last ones hurry and end early."""
    hurry = rng.random(env.num_envs) < np.linspace(0.0, 0.9, env.num_envs)
    if env.single_action_space.shape == ():
        return np.where(hurry, len(PACES) - 1, rng.integers(0, 4, env.num_envs))
    return np.where(hurry, 1.0, rng.uniform(-1.0, 0.3, env.num_envs))[:, None]


def assert_same(ours, theirs):
    """Equal to the last bit: arrays, and dictionaries and tuples of them."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif ours.dtype == object:
        assert [one is None for one in ours] == [one is None for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert np.array_equal(one, other) or one is None
    else:
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def advance(envs, actions):
    """Step some environments by the same actions, reset what waits for it, and return what each of them returned."""
    returned = [(env.step(actions), {}) for env in envs]
    ended = returned[0][0][2].copy()
    if envs[0].autoreset_mode == AutoresetMode.DISABLED and ended.any():
        returned = [(step, env.reset(options={"reset_mask": ended})) for env, (step, _) in zip(envs, returned, strict=True)]
    return returned


# --- threads and tiles


@needs_numba
def test_the_number_of_threads_changes_no_bit():
    """Whether lanes fill their tiles, or there are more threads than lanes."""
    for lanes in [1, 2, TILE - 1, TILE, TILE + 1, 1000]:
        envs = [HyperExecVectorEnv(lanes, "SameStep", "numpy", **FULLEST)]
        envs += [HyperExecVectorEnv(lanes, "SameStep", "numba", threads, **FULLEST) for threads in (1, 2, 3)]
        rng, ends = np.random.default_rng(lanes), 0
        expected, *others = [env.reset(seed=4) for env in envs]
        for _ in range(35):
            for other in others:
                assert_same(other, expected)
            expected, *others = advance(envs, draw_actions(envs[0], rng))
            ends += expected[0][2].sum()
        assert ends >= lanes
        for env in envs:
            env.close()


@needs_numba
def test_threads_are_let_go():
    env = HyperExecVectorEnv(2 * TILE, "NextStep", "numba", 2)
    env.reset(seed=0)
    env.step(np.zeros((2 * TILE, 1)))
    threads = set(env._lanes._pool._threads)
    assert any(thread.is_alive() for thread in threads)
    env.close()
    assert not any(thread.is_alive() for thread in threads)


@needs_numba
def test_lanes_may_be_stepped_after_their_threads_are_gone():
    both = [HyperExecVectorEnv(4096, backend="numba", num_threads=threads) for threads in (2, 1)]
    for lanes in both:
        lanes.reset(seed=3)
        lanes.close()
    first, second = (lanes.step(np.zeros((4096, 1), np.float32)) for lanes in both)
    assert np.array_equal(first[0], second[0])


@needs_numba
def test_a_whole_number_of_threads_may_be_a_float():
    lanes = HyperExecVectorEnv(8, backend="numba", num_threads=2.0)
    lanes.reset(seed=0)
    lanes.step(np.zeros((8, 1), np.float32))


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_actions_that_are_no_real_numbers_are_refused(backend):
    for actions in [np.array([["0.5"]] * 4), np.full((4, 1), 0.5j)]:
        lanes = HyperExecVectorEnv(4, backend=backend)
        lanes.reset(seed=0)
        with pytest.raises(ValueError, match=r"^actions must be numbers in \[-1, 1\], got an array of "):
            lanes.step(actions)


@needs_numba
@pytest.mark.parametrize(("threads", "lane"), [(1, TILE), (2, 0), (2, 299)])
def test_an_action_that_is_no_number_names_its_lane_and_changes_nothing(threads, lane):
    """Also where other lanes, in other tiles and threads, were given numbers, and where it is a number of shares."""
    env, clean = (HyperExecVectorEnv(300, "NextStep", "numba", threads, copy=False) for _ in range(2))
    env.reset(seed=0)
    clean.reset(seed=0)
    rng = np.random.default_rng(1)
    for _ in range(30):
        actions = draw_actions(env, rng)
        wrong = actions.copy()
        wrong[lane] = np.nan
        with pytest.raises(ValueError, match=rf"^actions must be numbers in \[-1, 1\], got nan in lane {lane}$"):
            env.step(wrong)
        with pytest.raises(ValueError, match=r"^shares to trade must be 300 numbers"):
            env.trade(wrong[:, 0])
        assert_same(env.step(actions), clean.step(actions))


@needs_numba
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads the machine code of x86-64")
@pytest.mark.parametrize("stage", ["draw_shocks", "turn", "observe"])
def test_a_loop_computes_several_lanes_at_once(stage):
    """A line that is compiled alone must vectorise: the driver that was compiled in this process calls that copy."""
    lanes = HyperExecVectorEnv(4, backend="numba")._lanes
    program, (draft, single, _) = lanes._compiled, lanes._scratch[0]
    (line,) = (line for line in program._loops["step"].lines if stage in line.names)
    arrays = {"given": program.given, "tables": program.tables, "kept": lanes._kept[0], "draft": draft, "single": single}
    arrays |= {"n": 4, "values": np.zeros(4), "reward": np.zeros(4), "terminated": np.zeros(4, np.bool_)}
    alone = compiler()._lines[compiler()._line(line)]
    numba = pytest.importorskip("numba")
    alone.compile(
        tuple(numba.typeof(arrays[name]) for name in line.arguments)
    )  # Python cannot call a line: it has no entry point
    (machine_code,) = alone.inspect_asm().values()
    assert re.search(r"\bv?(mul|div|sqrt)p[sd]\b", machine_code)


@needs_numba
def test_shares_in_any_array_are_served_by_the_loop_that_is_there():
    """Compiling another one for arrays that are read-only, or a column of a table, would take seconds."""
    env, other = (HyperExecVectorEnv(4, backend="numba") for _ in range(2))
    env.reset(seed=0)
    other.reset(seed=0)
    env.trade(np.full(4, 200.0))
    other.trade(np.full(4, 200.0))
    loop = env._lanes._compiled.plan("trade").driver
    (known,) = loop.signatures
    assert_same(env.trade(np.broadcast_to(np.float64(300.0), 4)), other.trade(np.full(4, 300.0)))
    assert_same(env.trade(np.full((4, 3), 300.0)[:, 1]), other.trade([300] * 4))
    assert loop.signatures == [known]


@needs_numba
def test_lanes_begin_and_end_wherever_they_lie_in_their_tiles():
    """Whole tiles, the first of a tile, some across two: what waits is begun by masks, and the reference is numpy."""
    lanes = 2 * TILE + 3
    numpy, numba = (HyperExecVectorEnv(lanes, "Disabled", backend, action_mode="fraction") for backend in ("numpy", "numba"))
    assert_same(numba.reset(seed=3), numpy.reset(seed=3))
    here = np.arange(lanes)
    groups = [
        *(here < TILE, here < 9, (here >= TILE) & (here < TILE + 5), here >= 2 * TILE, here >= lanes - 1),
        *((here >= TILE - 4) & (here < TILE + 4), here % 7 == 0, here >= 0, (here >= TILE) & (here < lanes)),
    ]
    for ending in groups:
        actions = np.where(ending, 1.0, -0.9)[:, None]
        ours, theirs = numba.step(actions), numpy.step(actions)
        assert_same(ours, theirs)
        assert np.array_equal(ours[2], ending)
        for mask in (ending & (here % 3 > 0), ending & (here % 3 == 0)):
            if mask.any():
                reset = {"options": {"reset_mask": mask}}
                assert_same(numba.reset(**reset), numpy.reset(**reset))


@every_backend
@pytest.mark.parametrize("begun", [True, False])
def test_lanes_go_on_from_a_position(backend, begun):
    """To the end of the episode and into the next one, and the position that was taken stays what it was."""
    lanes = 2 * TILE + 3
    one, other = (HyperExecVectorEnv(lanes, "SameStep", backend, **FULLEST) for _ in range(2))
    one.reset(seed=1)
    if begun:
        other.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(5):
        seen = one.step(draw_actions(one, rng))[0]
    position = one.position()
    kept = copy.deepcopy(position)
    assert np.array_equal(other.go_on(position), seen)
    assert_same(other.position(), position)
    for _ in range(30):
        actions = draw_actions(one, rng)
        assert_same(other.step(actions), one.step(actions))
    assert_same(position, kept)


@needs_numba
def test_a_position_of_one_backend_is_one_of_the_other():
    numpy, numba = (HyperExecVectorEnv(5, "SameStep", backend, **FULLEST) for backend in ("numpy", "numba"))
    numpy.reset(seed=1)
    rng = np.random.default_rng(0)
    for here, there in ((numpy, numba), (numba, numpy)):
        for _ in range(20):
            here.step(draw_actions(here, rng))
        there.go_on(here.position())
        assert_same(there.position(), here.position())
        actions = draw_actions(here, rng)
        assert_same(there.step(actions), here.step(actions))


def test_a_position_that_lacks_something_is_refused_by_its_name():
    env = HyperExecVectorEnv(3, backend="numpy")
    env.reset(seed=0)
    position = env.position()
    del position["Lane.state.remaining"]
    with pytest.raises(KeyError, match=r"Lane\.state\.remaining"):
        env.go_on(position)


# --- arrays that are used again


PROGRAMS = (("NextStep", {}), ("SameStep", FULLEST), ("Disabled", {"action_mode": "fraction"}))
"""The programs that all tests of this file share with `test_vector.py`: each costs seconds to compile."""
every_program = pytest.mark.parametrize(("autoreset", "options"), PROGRAMS, ids=[mode for mode, _ in PROGRAMS])


@needs_numba
@every_program
def test_without_copies_the_same_arrays_hold_the_same_numbers(autoreset, options):
    again, fresh = (HyperExecVectorEnv(5, autoreset, "numba", copy=copies, **options) for copies in (False, True))
    assert_same(again.reset(seed=2), fresh.reset(seed=2))
    rng, arrays, ends = np.random.default_rng(7), None, 0
    for _ in range(60):
        (step, reset), theirs = advance([again, fresh], draw_actions(again, rng))
        assert_same((step, reset), theirs)
        arrays = arrays or step[:3]
        for one, first in zip(step[:3], arrays, strict=True):
            assert one is first
        ends += 0 < step[2].sum() < 5
    assert ends > 0, "lanes fell out of step"


@needs_numba
def test_what_a_user_does_to_arrays_that_are_used_again_does_not_come_back():
    spoilt, clean = (HyperExecVectorEnv(5, "NextStep", "numba", copy=False) for _ in range(2))
    spoilt.reset(seed=2)
    clean.reset(seed=2)
    rng = np.random.default_rng(7)
    for _ in range(60):
        actions = draw_actions(spoilt, rng)
        ours = spoilt.step(actions)
        assert_same(ours, clean.step(actions))
        for array in ours[:3]:
            array[:] = 1


@needs_numba
@every_program
def test_the_situation_of_compiled_lanes_is_that_of_numpy(autoreset, options):
    """At all times: where lanes wait, where they have just begun, where they have not traded."""
    numpy, numba = (HyperExecVectorEnv(5, autoreset, backend, **options) for backend in ("numpy", "numba"))
    for env in (numpy, numba):
        env.reset(seed=2)
    rng = np.random.default_rng(7)
    for _ in range(60):
        ours, theirs = numba.situation, numpy.situation
        for name, one, other in zip(ours._fields[1:], ours[1:], theirs[1:], strict=True):
            assert np.array_equal(one, other), name
        advance([numpy, numba], draw_actions(numba, rng))


# --- copies of an environment


def pickled(env):
    return pickle.loads(pickle.dumps(env))  # noqa: S301 - made one line before


@pytest.mark.parametrize(
    ("backend", "autoreset", "how"),
    [
        ("numpy", "NextStep", pickled),
        ("numpy", "Disabled", copy.deepcopy),
        pytest.param("numba", "SameStep", copy.deepcopy, marks=needs_numba),
        pytest.param("numba", "SameStep", pickled, marks=needs_numba),
    ],
)
def test_a_copy_of_an_environment_goes_on_alike_and_by_itself(backend, autoreset, how):
    env = HyperExecVectorEnv(5, autoreset, backend, num_threads=2, **FULLEST)
    reference = HyperExecVectorEnv(5, autoreset, backend, **FULLEST)
    rng, other = np.random.default_rng(7), np.random.default_rng(8)
    assert_same(env.reset(seed=2), reference.reset(seed=2))
    for number in range(90):
        if number % 17 == 5:
            stray, env = env, how(env)
            assert_same(stray.situation[1:], env.situation[1:])
            for _ in range(3):
                advance([stray], draw_actions(stray, other))
            stray.close()
        ours, theirs = advance([env, reference], draw_actions(env, rng))
        assert_same(ours, theirs)


@every_backend
def test_a_copy_of_an_environment_that_never_began_is_one(backend):
    env = HyperExecVectorEnv(3, backend=backend)
    twin = copy.deepcopy(env)
    for _ in range(2):
        assert_same(twin.reset(seed=1), env.reset(seed=1))
        assert_same(twin.step(np.zeros((3, 1))), env.step(np.zeros((3, 1))))


@every_backend
def test_lanes_whose_end_was_interrupted_begin_their_next_episode(backend, monkeypatch):
    """An interrupt between the trades of a step and the statements of its end loses the statements and nothing else."""
    env, clean = (HyperExecVectorEnv(4, backend=backend) for _ in range(2))
    env.reset(seed=1)
    clean.reset(seed=1)

    def interrupt(*_):
        raise KeyboardInterrupt

    slices = env.task.market.slices
    with monkeypatch.context() as patched:
        patched.setattr(env, "_final_info", interrupt)
        for _ in range(slices - 1):
            env.step(np.full((4, 1), -1.0))
            clean.step(np.full((4, 1), -1.0))
        with pytest.raises(KeyboardInterrupt):
            env.step(np.full((4, 1), -1.0))
        clean.step(np.full((4, 1), -1.0))
    for _ in range(3):
        assert_same(env.step(np.full((4, 1), -1.0)), clean.step(np.full((4, 1), -1.0)))
        assert (env.situation.k <= slices).all()
