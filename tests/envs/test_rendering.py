"""Rendering: text and pictures of an episode so far, windows, and missing packages."""

from __future__ import annotations

import logging
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled, ResetNeeded

from hyperexec_env.envs.rendering import Painter, _Window, look
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.market.scenario import get_scenario, scenario_names

STAY = np.zeros(1, dtype=np.float32)


def begun(steps: int = 0, seed: int = 3, **options):
    env = HyperExecEnv(**options)
    env.reset(seed=seed)
    for _ in range(steps):
        env.step(STAY)
    return env


def finished(**options):
    env = HyperExecEnv(**options)
    env.reset(seed=3)
    info, over = {}, False
    while not over:
        *_, over, _, info = env.step(STAY)
    return env, info


def test_text_says_where_the_order_stands():
    text = begun(4, render_mode="ansi").render()
    assert text.startswith("regime-day: buy 200,000 shares, arrival price 100.00\n")
    assert "slice 4 of 26 done, minute 60 of 390" in text
    for line in ("remaining ", "last fill ", "mid ", "regime ", "shortfall ", "risk "):
        assert f"\n{line}" in text
    assert text.endswith("\n")


def test_text_is_narrow_in_every_scenario():
    for name in scenario_names():
        for steps in (0, 1, get_scenario(name).slices):
            assert max(map(len, begun(steps, scenario=name, render_mode="ansi").render().splitlines())) <= 132


def test_text_of_the_end_repeats_the_final_info():
    env, info = finished(render_mode="ansi")
    assert ", over" in env.render()
    assert f"shortfall  {info['shortfall_bps']:.2f} bps" in env.render()
    assert look(env._running).statement.components._asdict() == info["components_bps"]


def test_picture_is_an_array_of_pixels():
    first = begun(0, render_mode="rgb_array").render()
    later = begun(9, render_mode="rgb_array").render()
    assert first.shape == later.shape == (640, 960, 3)
    assert first.dtype == np.uint8
    assert (first != later).any()


def test_picture_of_the_same_state_is_the_same():
    env = begun(5, render_mode="rgb_array")
    np.testing.assert_array_equal(env.render(), env.render())


@pytest.mark.parametrize("name", scenario_names())
def test_picture_of_every_scenario(name, recwarn):
    env = begun(2, scenario=name, render_mode="rgb_array")
    assert env.render().std() > 10.0
    env.close()
    assert not [warning for warning in recwarn if "figure" in str(warning.message).lower()]


def test_picture_of_an_order_that_trades_nothing():
    scenario = {"base": "regime-day", "complete": False, "half_spread_bps": 0.0}
    env = HyperExecEnv(scenario=scenario, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(26):
        env.step(-np.ones(1, dtype=np.float32))
    assert env.render().shape == (640, 960, 3)
    env.render_mode = "ansi"
    assert "last fill  nothing traded" in env.render()


def test_rendering_changes_nothing():
    shown, plain = begun(0, render_mode="rgb_array"), begun(0)
    for _ in range(10):
        shown.render()
        np.testing.assert_array_equal(shown.step(STAY)[0], plain.step(STAY)[0])


def test_fills_and_mids_add_up_to_the_shortfall():
    env, info = finished()
    frame = look(env._running)
    shares = -np.diff(frame.remaining)
    paid = frame.side * (np.dot(shares, frame.fills) - frame.quantity * frame.arrival_price)
    assert 1e4 * paid / (frame.quantity * frame.arrival_price) == pytest.approx(info["shortfall_bps"], abs=1e-9)
    assert frame.mids[0] == frame.arrival_price
    assert len(frame.mids) == len(frame.remaining) == frame.k + 1


def test_a_frame_holds_no_future():
    frame = look(begun(7)._running)
    assert len(frame.regimes) == 8
    assert len(frame.mids) == 8
    assert len(frame.fills) == len(frame.participation) == 7


def test_a_hidden_regime_is_not_shown():
    env = begun(6, observe_regime=False, render_mode="ansi")
    assert "regime     hidden" in env.render()
    assert look(env._running).regimes == []
    assert look(env._running).known == ()


def test_rendering_before_reset_is_an_error():
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before render\(\)"):
        HyperExecEnv(render_mode="ansi").render()


def test_rendering_without_a_mode_warns():
    env = begun()
    with pytest.warns(UserWarning, match="without specifying any render mode"):
        assert env.render() is None


def test_unknown_mode_is_an_error():
    with pytest.raises(ValueError, match="render_mode must be one of ansi, rgb_array, human, got 'rgb'"):
        HyperExecEnv(render_mode="rgb")


def test_window_without_a_screen_says_so_and_goes_on(caplog):
    env = HyperExecEnv(render_mode="human")
    with caplog.at_level(logging.WARNING):
        env.reset(seed=0)
        env.step(STAY)
    notices = [record.getMessage() for record in caplog.records if "no screen" in record.getMessage()]
    assert len(notices) == 1
    assert "'rgb_array' or 'ansi'" in notices[0]
    assert env.render() is None
    env.close()
    env.close()


def test_window_is_drawn_at_each_step_by_itself(monkeypatch):
    env = HyperExecEnv(render_mode="human")
    drawn = []
    monkeypatch.setattr("hyperexec_env.envs.rendering.Painter.paint", lambda self, frame, pause: drawn.append(frame.k))
    env.reset(seed=0)
    for _ in range(3):
        env.step(STAY)
    assert drawn == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "module", "package"), [("rgb_array", "PIL.ImageDraw", "pillow"), ("human", "matplotlib.pyplot", "matplotlib")]
)
def test_a_missing_package_is_one_line(monkeypatch, mode, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyNotInstalled) as error:
        begun(render_mode=mode).render()
    assert str(error.value) == f'rendering needs {package}: pip install "hyperexec-env[plot]"'


@pytest.mark.parametrize(("mode", "packages"), [("ansi", {"matplotlib", "PIL"}), ("rgb_array", {"matplotlib"})])
def test_rendering_does_not_import_what_it_does_not_need(mode, packages):
    """Importing matplotlib takes many times as long as drawing the first frame."""
    code = (
        f"import sys, gymnasium, hyperexec_env; env = gymnasium.make('HyperExec-v0', render_mode={mode!r}); "
        f"env.reset(seed=0); env.render(); sys.exit(bool({packages!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_window_shows_each_picture_until_its_user_closes_it(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs the extra `plot`")
    figure = pyplot.figure(figsize=(9.6, 6.4), dpi=100)
    monkeypatch.setattr("hyperexec_env.envs.rendering._open_window", lambda: _Window(figure))
    painter = Painter(window=True)
    for steps in (1, 5):
        painter.paint(look(begun(steps)._running))
        np.testing.assert_array_equal(np.asarray(figure.canvas.buffer_rgba())[..., :3], painter.pixels())
    pyplot.close(figure)
    monkeypatch.setattr(figure.canvas, "draw", lambda: pytest.fail("a closed window was drawn again"))
    painter.paint(look(begun(9)._running))
    painter.close()


def test_close_may_be_called_twice_and_the_environment_used_again():
    env = begun(1, render_mode="rgb_array")
    before = env.render()
    env.close()
    env.close()
    np.testing.assert_array_equal(env.render(), before)


def test_gymnasium_collects_and_wraps_the_pictures():
    env = gym.make("HyperExec-v0", render_mode="rgb_array_list")
    env.reset(seed=0)
    env.step(STAY)
    assert len(env.render()) == 2
