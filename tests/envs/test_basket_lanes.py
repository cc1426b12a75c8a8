"""Lanes of baskets: compiled loops are numpy lanes, and a basket of one is HyperExec-v0.

That numpy lanes are single environments is tested in `test_basket.py`.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperexec_env.backends.layout import TILE
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.basket_scenario import BasketScenario, get_basket

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
RESULTS = ("objective_bps", "shortfall_bps", "risk_bps", "forced_fraction")
MIXED = replace(
    get_basket("basket-day"),
    assets=tuple(
        replace(
            asset, **({"temp_impact_beta": 0.5} if i < 2 else {"max_participation": 0.2} if i < 5 else {"volume_noise": 0.0})
        )
        for i, asset in enumerate(get_basket("basket-day").assets)
    ),
)
"""A basket whose assets need different loops: exponents, caps and the noise of volumes differ."""


def actions_for(env, rng):
    """Most lanes leave shares until the deadline, some hurry and end early."""
    if isinstance(env.single_action_space, gym.spaces.MultiDiscrete):
        return np.where(rng.random((env.num_envs, 1)) < 0.2, 6, rng.integers(0, 5, env.action_space.shape))
    hurry = rng.random((env.num_envs, 1)) < 0.2
    return np.where(hurry, 1.0, rng.uniform(-1.0, 0.2, env.action_space.shape)).astype(np.float32)


def equal(ours, theirs):
    """Raise where two infos differ in a bit."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            equal(ours[key], theirs[key])
    elif np.asarray(theirs).dtype == object:
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                equal(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)


def assert_compiled_lanes_are_numpy_lanes(mode, lanes=TILE + 3, steps=60, **options):
    envs = [HyperExecBasketVectorEnv(lanes, mode, backend=backend, **options) for backend in ("numba", "numpy")]
    equal(*(env.reset(seed=3)[0] for env in envs))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(steps):
        actions = actions_for(envs[0], rng)
        (seen, paid, *over, info), (wanted, reward, *wanted_over, wanted_info) = (env.step(actions) for env in envs)
        equal(seen, wanted)
        equal(paid, reward)
        equal(over, wanted_over)
        equal(dict(info.items()), dict(wanted_info.items()))
        ended = over[0] | over[1]
        ends += ended.sum()
        if mode == "Disabled" and ended.any():
            equal(*(env.reset(options={"reset_mask": ended})[0] for env in envs))
    assert ends
    equal(*({**env.situation._asdict(), "market": 0.0} for env in envs))
    if envs[0].task.discrete:
        np.testing.assert_array_equal(*(env.action_masks() for env in envs))


@needs_numba
def test_compiled_lanes_are_numpy_lanes_and_refuse_what_they_refuse():
    """The one compiled program of a basket outside of `-m slow`: it takes seconds."""
    assert_compiled_lanes_are_numpy_lanes("NextStep")
    lanes = HyperExecBasketVectorEnv(3, backend="numba")
    first, _ = lanes.reset(seed=1)
    actions = np.zeros((3, 10), np.float32)
    actions[2, 4] = np.nan
    with pytest.raises(ValueError, match="action must be numbers"):
        lanes.step(actions)
    np.testing.assert_array_equal(lanes.reset(seed=1)[0], first)
    twin = pickle.loads(pickle.dumps(lanes))  # noqa: S301 - made here
    later = HyperExecBasketVectorEnv(3, backend="numba")
    np.testing.assert_array_equal(later.go_on(lanes.position()), first)
    made = [each.step(first[:, :10]) for each in (lanes, twin, later)]
    for other in made[1:]:
        for one, values in zip(made[0][:4], other[:4], strict=True):
            np.testing.assert_array_equal(one, values)


@needs_numba
@pytest.mark.slow  # each program takes seconds to compile
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("SameStep", {"action_mode": "discrete", "random_side": True, "quantity_range": (0.5, 2), "scenario": MIXED}),
        ("Disabled", {"action_mode": "dial", "observe_regime": False, "reward": "realised", "info": "full"}),
        ("NextStep", {"action_mode": "fraction", "max_episode_steps": 7, "info": "full", "scenario": "basket-day"}),
        ("SameStep", {"action_mode": "participation", "max_episode_steps": 7, "num_threads": 2}),
    ],
)
def test_compiled_lanes_are_numpy_lanes_in_every_mode(mode, options):
    options = {"scenario": "basket-hedged"} | options
    threads = options.pop("num_threads", None)
    assert_compiled_lanes_are_numpy_lanes(mode, **options, **({} if threads is None else {"num_threads": threads}))


@pytest.mark.parametrize(
    "backend", [pytest.param("numpy", marks=pytest.mark.fast), pytest.param("numba", marks=(needs_numba, pytest.mark.slow))]
)
@pytest.mark.parametrize("scenario", ["regime-day", "obizhaeva-wang"])
def test_lanes_of_a_basket_of_one_are_those_of_one_asset_bit_for_bit(backend, scenario):
    one = HyperExecVectorEnv(5, backend=backend, scenario=scenario)
    basket = HyperExecBasketVectorEnv(5, backend=backend, scenario=scenario)
    names = basket.observation_names()
    columns = [names.index(name if name in names else f"asset0.{name}") for name in observation_names()]
    np.testing.assert_array_equal(one.reset(seed=2)[0], basket.reset(seed=2)[0][:, columns])
    rng, ends = np.random.default_rng(1), 0
    for _ in range(110):
        actions = actions_for(one, rng)
        seen, paid, over, _, info = one.step(actions)
        ours, reward, basket_over, _, basket_info = basket.step(actions)
        np.testing.assert_array_equal(seen, ours[:, columns])
        np.testing.assert_array_equal(paid, reward)
        np.testing.assert_array_equal(over, basket_over)
        ends += over.sum()
        if over.any():
            (asset,) = (value for name, value in basket_info["assets"].items() if not name.startswith("_"))
            for name in RESULTS:
                np.testing.assert_array_equal(info[name], asset[name])
    assert ends


@st.composite
def baskets(draw):
    """Some assets of a shipped basket with other sizes, sides, correlations and cross-impact."""
    base = get_basket(draw(st.sampled_from(["basket-hedged", "basket-day"])))
    count = draw(st.integers(1, 6))
    assets = tuple(
        replace(asset, quantity=asset.quantity * draw(st.floats(0.1, 3.0)), side=draw(st.sampled_from([1, -1])))
        for asset in base.assets[:count]
    )
    level = draw(st.floats(0.0, 0.9))
    correlation = tuple(tuple(1.0 if i == j else level for j in range(count)) for i in range(count))
    return BasketScenario("drawn", "", assets, correlation, cross_impact=draw(st.floats(0.0, 1.0)))


@settings(max_examples=12)
@given(baskets(), st.integers(0, 2**32))
def test_lanes_of_any_basket_are_single_environments_bit_for_bit(basket, seed):
    lanes, single = HyperExecBasketVectorEnv(2, backend="numpy", scenario=basket), HyperExecBasketEnv(basket)
    np.testing.assert_array_equal(lanes.reset(seed=seed)[0][0], single.reset(seed=seed)[0])
    rng, over = np.random.default_rng(seed), False
    while not over:
        actions = actions_for(lanes, rng)
        seen, paid, terminated, _, info = lanes.step(actions)
        wanted, reward, over, _, told = single.step(actions[0])
        np.testing.assert_array_equal(seen[0], wanted)
        assert (paid[0], terminated[0]) == (reward, over)
    assert all(info[name][0] == told[name] for name in RESULTS)


@pytest.mark.fast
def test_copies_of_lanes_go_on_alike_and_apart():
    lanes = HyperExecBasketVectorEnv(2, backend="numpy", scenario="basket-pairs", quantity_range=(0.5, 2))
    lanes.reset(seed=1)
    lanes.step(np.zeros((2, 10)))
    twins = [lanes, copy.deepcopy(lanes), pickle.loads(pickle.dumps(lanes))]  # noqa: S301 - made here
    other = HyperExecBasketVectorEnv(2, backend="numpy", scenario="basket-pairs", quantity_range=(0.5, 2))
    other.go_on(lanes.position())
    twins.append(other)
    made = [twin.step(np.full((2, 10), 0.5)) for twin in twins]
    for other in made[1:]:
        for one, values in zip(made[0][:4], other[:4], strict=True):
            np.testing.assert_array_equal(one, values)
