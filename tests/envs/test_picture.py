"""The canvas of the pictures: scales with round numbers, shapes and text at their place."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra `plot`")

from hyperexec_env.envs.picture import Canvas, Panel, ticks

pytestmark = pytest.mark.fast

BLACK, WHITE = [0, 0, 0], [255, 255, 255]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 390.0, ["0", "50", "100", "150", "200", "250", "300", "350"]),
        (99.95, 100.05, ["99.96", "99.98", "100.00", "100.02", "100.04"]),
        (-12.0, 3.0, ["-12", "-10", "-8", "-6", "-4", "-2", "0", "2"]),
        (0.0, 4.0, ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]),
        (0.0, 2_400.0, ["0", "500", "1,000", "1,500", "2,000"]),
    ],
)
def test_ticks_are_round_numbers(low, high, texts):
    assert [text for _, text in ticks(low, high, 8)] == texts


def test_there_are_enough_ticks_within_the_scale_and_not_too_many():
    for seed in range(20):
        low, span = np.random.default_rng(seed).uniform([-1e3, 1e-3], [1e3, 1e3])
        values = [value for value, _ in ticks(low, low + span, 8)]
        assert 3 <= len(values) <= 9
        assert all(low - 1e-6 * span <= value <= low + span * (1.0 + 1e-6) for value in values)
        texts = [float(text.replace(",", "")) for _, text in ticks(low, low + span, 8)]
        assert texts == pytest.approx(values)


def test_shapes_are_where_they_are_put():
    canvas = Canvas(60, 40)
    canvas.rectangle((30, 25, 10, 5), "black")
    pixels = canvas.pixels()
    assert pixels.shape == (40, 60, 3)
    assert (pixels[5:25, 10:30] == BLACK).all()
    assert (pixels == BLACK).all(axis=2).sum() == 20 * 20
    canvas.disc((50, 20), 5, "black")
    covered = (255.0 - canvas.pixels()[:, 40:, 0]).sum() / 255.0
    assert covered == pytest.approx(np.pi * 25, rel=0.1)


def test_a_dashed_line_covers_its_dashes_only():
    canvas = Canvas(60, 20)
    canvas.line([(0, 10), (30, 10), (60, 10)], "black", 1.0, dash=(6.0, 4.0))
    dark = (canvas.pixels() < 128).all(axis=2).any(axis=0)
    assert dark.sum() == pytest.approx(36, abs=3)
    assert not dark[[8, 18, 28, 38, 48, 58]].any()
    assert dark[[3, 13, 23, 33, 43, 53]].all()


def test_a_bar_of_no_length_is_not_drawn():
    canvas = Canvas(20, 20)
    canvas.rectangle((5, 5, 5, 15), "black")
    assert (canvas.pixels() == WHITE).all()


def test_text_is_as_wide_as_the_canvas_says():
    canvas = Canvas(200, 40)
    width = canvas.text((10, 20), "remaining", size=14.0, colour="black")
    dark = (canvas.pixels() < 128).all(axis=2)
    assert dark.any(axis=0).nonzero()[0].max() == pytest.approx(10 + width, abs=3)
    assert dark.any(axis=1).nonzero()[0].mean() == pytest.approx(20, abs=3)


def test_a_panel_puts_its_ranges_on_its_edges():
    panel = Panel(Canvas(10, 10), (100, 50, 300, 250), (-1.0, 1.0), (0.0, 10.0))
    assert [panel.x(value) for value in (-1.0, 0.0, 1.0)] == [100, 200, 300]
    assert [panel.y(value) for value in (0.0, 5.0, 10.0)] == [250, 150, 50]
