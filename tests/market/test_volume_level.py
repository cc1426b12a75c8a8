"""The volume level: one lognormal factor of mean one per episode, which moves nothing but the volume and is never shown."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.generate import write
from hyperexec_env.backends.layout import Layout
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.lanes import lane_program
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.task import build_task
from hyperexec_env.market import noise, path
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import OrderDraw, begin, draw_orders, draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day")
SD = 0.5
EPISODES = 40_000


def paths(scenario, episodes=EPISODES, seed=5):
    return draw_path(build_market(scenario), episode_keys(seed, np.arange(episodes)), 1.0)


def z_of_mean(values, expected):
    """How many standard errors a mean over independent episodes lies from its expectation."""
    return abs(values.mean() - expected) / (values.std() / math.sqrt(values.size))


SURPRISING = -NormalDist().inv_cdf(0.001 / 40)
"""A z-score that the largest of 20 exceeds once in a thousand runs."""


def test_a_market_without_a_level_is_the_market_before_the_field():
    for name in scenario_names():
        scenario = get_scenario(name)
        if scenario.volume_level_sd:
            continue
        assert replace(scenario, volume_level_sd=0.0).hash == scenario.hash
        assert replace(scenario, volume_level_sd=SD).hash != scenario.hash
        assert (paths(scenario, 20).world.volume_level == 1.0).all()


@pytest.mark.parametrize("name", scenario_names())
def test_the_level_multiplies_the_volume_and_moves_nothing_else(name):
    scenario = replace(get_scenario(name), volume_level_sd=0.0)
    plain, levelled = paths(scenario, 300), paths(replace(scenario, volume_level_sd=SD), 300)
    level = levelled.world.volume_level
    assert (level == level[0]).all()
    for field, values in plain.slices._asdict().items():
        factor = level[:-1] if field == "volume" else 1.0
        if field == "limit" and scenario.max_participation is not None:
            cap = build_market(scenario).cap[:, None]
            assert np.array_equal(levelled.slices.limit, np.where(np.isinf(cap), math.inf, cap * levelled.slices.volume))
            continue
        assert np.array_equal(values * factor, getattr(levelled.slices, field)), field
    for field in ("regime", "flow", "price"):
        assert np.array_equal(getattr(plain.world, field), getattr(levelled.world, field)), field


@pytest.mark.parametrize("deviation", [0.3, 0.8])
def test_the_level_is_lognormal_with_mean_one(deviation):
    level = paths(replace(DAY, volume_level_sd=deviation)).world.volume_level[0]
    logs = np.log(level) + 0.5 * deviation**2
    assert z_of_mean(level, 1.0) < SURPRISING
    assert z_of_mean(logs, 0.0) < SURPRISING
    assert z_of_mean(logs**2, deviation**2) < SURPRISING
    assert z_of_mean(logs**3, 0.0) < SURPRISING
    assert z_of_mean(logs**4, 3.0 * deviation**4) < SURPRISING


def test_the_mean_volume_of_a_slice_does_not_depend_on_the_level():
    market = build_market(DAY)
    volume = paths(replace(DAY, volume_level_sd=SD)).slices.volume
    for k in (0, 7, 25):
        assert z_of_mean(volume[k], market.mean_volume[k, market.unknown]) < SURPRISING
    assert z_of_mean(volume.sum(axis=0), market.rest_volume[0, market.unknown]) < SURPRISING


def test_the_log_of_the_volume_of_a_day_varies_by_the_level():
    """With small noise in one regime, the day's volume is its expectation times the level."""
    scenario = replace(DAY, regimes={}, volume_noise=0.05, volume_level_sd=SD)
    logs = np.log(paths(scenario).slices.volume.sum(axis=0) / build_market(scenario).rest_volume[0, 0])
    noise_of_sum = 0.05 * math.sqrt((np.array(scenario.profile()) ** 2).sum()) / sum(scenario.profile())
    squares = (logs - logs.mean()) ** 2
    assert z_of_mean(squares, SD**2 + noise_of_sum**2) < SURPRISING
    assert abs(math.sqrt(squares.mean()) - SD) < 0.01


def test_the_level_is_independent_of_every_other_draw_of_an_episode():
    market, keys = build_market(replace(DAY, volume_level_sd=SD)), episode_keys(9, np.arange(EPISODES))
    whole = draw_path(market, keys, 1.0)
    order = draw_orders(market, keys, OrderDraw(random_side=True, quantity_range=(0.5, 2.0)))
    level = np.log(whole.world.volume_level[0])
    level = (level - level.mean()) / level.std()
    shocks = np.log(
        whole.slices.volume[:6]
        / whole.world.volume_level[0]
        / market.mean_volume[np.arange(6)[:, None], whole.world.regime[:6]]
    )
    others = [order.side, np.log(order.quantity), whole.world.regime[0], whole.world.flow[0], *whole.world.flow[1:6]]
    for other in (*others, *shocks, whole.world.price[-1]):
        scaled = (other - np.mean(other)) / np.std(other)
        assert z_of_mean(level * scaled, 0.0) < SURPRISING
        assert z_of_mean((level**2 - 1.0) * scaled**2, 0.0) < SURPRISING


def test_the_level_has_a_word_of_its_own():
    """No slice, side or size reads the random word of the level."""
    key = episode_keys(3, np.arange(50))
    used = {
        int(word)
        for k in range(30)
        for words in noise.words(key, (noise.REGIME, noise.PRICE, noise.VOLUME), k)
        for word in words
    }
    used |= {int(word) for offset in (path._ORDER_WORD, path._SIDE, path._SIZE) for word in noise.word(key, offset)}
    assert not used & {int(word) for word in noise.word(key, path._LEVEL)}


def test_the_first_observation_and_the_first_situation_do_not_depend_on_the_level():
    """Past volumes show the level from the second slice on, through the last volume and the last participation alone."""
    names, shown = [], []
    for deviation in (0.0, 0.4, 0.8):
        env = HyperExecEnv(replace(DAY, volume_level_sd=deviation))
        first, info = env.reset(seed=4)
        assert info == HyperExecEnv(DAY).reset(seed=4)[1]
        assert env.situation.level_variance == pytest.approx(deviation**2)
        situation = env.situation._replace(market=None, level_variance=0.0)
        second = env.step(np.zeros(1, np.float32))[0]
        shown.append((first, situation, second))
        names = observation_names()
    for first, situation, second in shown[1:]:
        assert np.array_equal(first, shown[0][0])
        assert situation == shown[0][1]
        moved = {name for name, ours, theirs in zip(names, second, shown[0][2], strict=True) if ours != theirs}
        assert moved == {"last_volume", "last_participation"}


def loops(scenario):
    """The text of all loops of lanes, and the number of columns that they keep."""
    program = lane_program(build_task(scenario), AutoresetMode.NEXT_STEP)
    layout = Layout(program)
    texts = [function.text for plan in program.plans for function in write(plan, layout).lines]
    return texts, layout.columns["kept"]


def test_loops_of_a_market_without_a_level_keep_nothing_for_it():
    plain, columns = loops(DAY)
    levelled, with_level = loops(replace(DAY, volume_level_sd=SD))
    assert with_level == columns + 3  # the level, and mean and variance of the belief about it
    assert sum(text.count("kept[") for text in plain) < sum(text.count("kept[") for text in levelled)
    assert not any("volume_level" in text for text in plain)
    assert any("volume_level" in text for text in levelled)


def test_begin_draws_the_level_that_a_path_has():
    market, keys = build_market(replace(DAY, volume_level_sd=SD)), episode_keys(1, np.arange(7))
    assert np.array_equal(begin(market, keys).volume_level, draw_path(market, keys, 1.0).world.volume_level[0])
