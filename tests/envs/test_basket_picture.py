"""Pictures of baskets: a panel for each asset, the risk left, and nothing of the future."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra `plot`")

import hyperexec_env as hx
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.basket_picture import draw_basket, look_at_basket
from hyperexec_env.envs.picture import SIZE
from hyperexec_env.market.basket_scenario import get_basket

pytestmark = pytest.mark.fast

WIDTH, HEIGHT = SIZE


def played(basket, slices, **options):
    env = HyperExecBasketEnv(basket, render_mode="rgb_array", **options)
    env.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(slices):
        *_, info = env.step(rng.uniform(-1.0, 1.0, env.action_space.shape))
    return env, info if slices else {}


def test_the_picture_shows_the_state_of_the_episode():
    env, _ = played("basket-day", 7)
    frame, situation = look_at_basket(env._running), env.situation
    left = situation.remaining / np.array([asset.quantity for asset in env.task.market.scenario.assets])
    assert frame.remaining.shape == (10, 8)
    assert frame.remaining[:, -1] == pytest.approx(left, rel=1e-12)
    assert frame.plans.shape == (10, 27)
    shares, scale = situation.remaining, env.task.market.scenario
    size = np.array([asset.arrival_price * asset.volatility for asset in scale.assets])
    covariance = np.array(env.task.market.coupling.correlation) * np.outer(size, size)
    whole = scale.quantities
    assert frame.risk[-1] == pytest.approx(np.sqrt(shares @ covariance @ shares / (whole @ covariance @ whole)), rel=1e-6)
    assert frame.risk[0] == pytest.approx(1.0)
    assert frame.regime == scale.regimes.names[int(situation.seen)]


@pytest.mark.parametrize("count", [1, 2, 50])
def test_baskets_of_every_size_are_drawn(count):
    hedged = get_basket("basket-hedged")
    assets = tuple(replace(hedged.assets[i % 10], name=f"asset-{i}") for i in range(count))
    env, _ = played(replace(hedged, assets=assets, correlation=()), 3)
    pixels = env.render()
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert pixels.dtype == np.uint8
    assert (pixels[112:560, 60:640] < 255).any()


def test_the_picture_is_made_from_the_past_only():
    first, second = (HyperExecBasketEnv("basket-hedged", render_mode="rgb_array") for _ in range(2))
    for env in (first, second):
        env.reset(seed=1)
        for _ in range(4):
            env.step(np.zeros(10))
    before = first.render()
    second._running._observations[6:] = 0.0
    for block in second._running._block.assets:
        block.path.world.price[6:] = 1e6
        block.path.world.regime[6:] = 0
    assert np.array_equal(second.render(), before)
    first.step(np.ones(10))
    assert not np.array_equal(first.render(), before)


def test_a_hidden_regime_is_not_shown_by_name_or_by_cost():
    env, _ = played("basket-day", 5, observe_regime=False)
    frame = look_at_basket(env._running)
    assert frame.regime == ""
    assert np.isnan(frame.statement.shortfall)
    assert draw_basket(frame).shape == (HEIGHT, WIDTH, 3)


def test_the_costs_of_a_picture_are_those_of_the_information():
    env, info = played("basket-hedged", 26)
    frame = look_at_basket(env._running)
    assert frame.over
    assert frame.statement.shortfall == pytest.approx(info["shortfall_bps"])
    assert frame.costs == pytest.approx([asset["objective_bps"] for asset in info["assets"].values()])
    env.close()
    assert env.render().shape == (HEIGHT, WIDTH, 3)


def test_a_window_falls_back_to_pixels_where_there_is_no_screen(caplog, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    monkeypatch.setenv("MPLBACKEND", "agg")
    env = hx.make("basket-hedged", render_mode="human").unwrapped
    env.reset(seed=0)
    env.step(np.zeros(10))
    assert env.render() is None
    env.close()
