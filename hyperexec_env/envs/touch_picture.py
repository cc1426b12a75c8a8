"""Picture of a child order at the touch: the queue over time and now, the lots that are left, and the cost."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.picture import BLUE, DASHED, FAINT, GREEN, INK, ORANGE, RED, SIZE, Box, Canvas, Panel, line_key
from hyperexec_env.envs.touch_frame import TouchFrame, headline, whereabouts
from hyperexec_env.market.touch import AWAY, DEEPER, THROUGH, TOUCH

__all__ = ["draw_touch"]

_OTHERS, _DEEP = "#b9bec5", "#a9c7e8"
_COLUMN: Final = 10
"""Lots in a column of the queue now."""


def draw_touch(frame: TouchFrame) -> NDArray[np.uint8]:
    """Draw a frame and return its pixels, shape (height, width, 3)."""
    canvas = Canvas(*SIZE)
    order, clock = headline(frame)
    canvas.text((82, 30), order, size=19.0)
    canvas.text((82, 57), f"{clock}; the order rests {whereabouts(frame)}", size=14.0, colour=FAINT)
    _draw_queue(canvas, frame)
    _draw_lots(canvas, frame)
    _draw_now(canvas, frame)
    _draw_costs(canvas, frame)
    return canvas.pixels()


def _panel(canvas: Canvas, frame: TouchFrame, box: Box, top: float) -> Panel:
    return Panel(canvas, box, (0.0, frame.scenario.horizon_seconds), (0.0, top))


def _draw_queue(canvas: Canvas, frame: TouchFrame) -> None:
    """Draw the queue in each step: the lots ahead, and the own lots behind them."""
    scenario = frame.scenario
    top = 1.05 * (scenario.queue + scenario.lots)
    panel = _panel(canvas, frame, (82, 110, 574, 307), top)
    panel.horizontal_scale(8, labels=False)
    panel.vertical_scale(5)
    panel.frame()
    seconds = scenario.step_seconds
    for lane in frame.lanes:
        left, right = panel.x(lane.k * seconds - 0.5 * seconds) + 0.7, panel.x(lane.k * seconds + 0.5 * seconds) - 0.7
        left, right = max(left, panel.box[0]), min(right, panel.box[2])
        level, ahead = lane.place
        if level == TOUCH:
            canvas.rectangle((left, panel.y(0.0), right, panel.y(ahead)), _OTHERS)
            canvas.rectangle((left, panel.y(ahead), right, panel.y(ahead + lane.left)), BLUE)
        elif level == DEEPER:
            canvas.rectangle((left, panel.y(scenario.queue), right, panel.y(scenario.queue + lane.left)), _DEEP)
        if lane.k and lane.moved:
            colour = RED if lane.moved == AWAY else GREEN
            canvas.line([(panel.x(lane.k * seconds), 110), (panel.x(lane.k * seconds), 118)], colour, 2.0)
    place = 106 + canvas.text((82, 96), "lots, front of the queue at 0", colour=FAINT)
    for name, colour in (("ahead", _OTHERS), ("own", BLUE), ("one tick deeper", _DEEP)):
        canvas.rectangle((place, 91, place + 12, 101), colour)
        place += 32 + canvas.text((place + 17, 96), name)
    for name, colour in (("away", RED), ("through", GREEN)):
        canvas.line([(place, 91), (place, 101)], colour, 2.0)
        place += 20 + canvas.text((place + 6, 96), name)


def _draw_lots(canvas: Canvas, frame: TouchFrame) -> None:
    """Draw the lots that are left, with fills and takes."""
    scenario, seconds = frame.scenario, frame.scenario.step_seconds
    panel = _panel(canvas, frame, (82, 347, 574, 544), 1.08 * scenario.lots)
    panel.horizontal_scale(8)
    panel.vertical_scale(5)
    panel.frame()
    panel.line((0.0, scenario.horizon_seconds), (scenario.lots, 0.0), FAINT, 1.4, dash=DASHED)
    times: list[float] = []
    left: list[float] = []
    for lane in frame.lanes:  # a staircase
        times += [lane.k * seconds] * (2 if left else 1)
        left += [*left[-1:], lane.left]
    panel.line(times, left, INK, 1.8)
    for lane, taken in zip(frame.lanes[1:], frame.taken, strict=True):
        for lots, colour in ((lane.filled, GREEN), (taken, ORANGE)):
            if lots:
                radius = 3.0 + 5.0 * (lots / scenario.lots) ** 0.5
                canvas.disc((panel.x(lane.k * seconds), panel.y(lane.left)), radius, colour, outline="white")
    canvas.text((328, 577), "seconds since the start of the order", anchor="mm")
    place = line_key(
        canvas, (106 + canvas.text((82, 333), "lots", colour=FAINT), 333), "equal lots at equal times", FAINT, 1.4, DASHED
    )
    for name, colour in (("filled", GREEN), ("took", ORANGE)):
        canvas.disc((place + 6, 333), 5.0, colour)
        place += 36 + canvas.text((place + 17, 333), name)


def _draw_now(canvas: Canvas, frame: TouchFrame) -> None:
    """Draw the queue now, one square for each lot, the front at the lower left."""
    scenario, now = frame.scenario, frame.now
    level, ahead = now.place
    others = int(ahead) if level == TOUCH else scenario.queue
    own = int(now.left) if level == TOUCH else 0
    canvas.text((640, 96), "the queue now" if not now.over else "the queue at the end", size=14.0)
    side = 16.0
    for lot in range(min(others + own, 14 * _COLUMN)):
        column, row = divmod(lot, _COLUMN)
        x, y = 640 + column * (side + 3), 290 - row * (side + 2)
        canvas.rectangle((x, y - side, x + side, y), _OTHERS if lot < others else BLUE)
    waiting = int(now.left) - own
    where = "one tick deeper" if level == DEEPER else "resting nowhere"
    if waiting:
        canvas.text((640, 309), f"{waiting} own lots {where}", size=12.0, colour=FAINT)
        for lot in range(min(waiting, 28)):
            x, y = 640 + (lot % 14) * (side + 3), 336 + (lot // 14) * (side + 2)
            canvas.rectangle((x, y - side, x + side, y), _DEEP if level == DEEPER else "white", outline=FAINT)
    move = {AWAY: "moved away", THROUGH: "moved through"}.get(now.moved, "stayed")
    if now.k:
        canvas.text((640, 378), f"last: {now.outflow:.0f} lots left the queue, the touch {move}", size=12.0, colour=FAINT)


def _draw_costs(canvas: Canvas, frame: TouchFrame) -> None:
    """Draw a bar for each source of the cost so far, and one for their sum."""
    bars = [*frame.costs.items(), ("sum", sum(frame.costs.values()))]
    span = max(0.5, *(abs(value) for _, value in bars))
    low = -1.5 * span if min(value for _, value in bars) < 0.0 else -0.05 * span
    panel = Panel(canvas, (700, 415, 936, 544), (low, 1.45 * span), (len(bars) - 0.5, -0.5))
    for place, (name, value) in enumerate(bars):
        colour = INK if name == "sum" else RED if value > 0.0 else GREEN
        canvas.rectangle((panel.x(0.0), panel.y(place - 0.32), panel.x(value), panel.y(place + 0.32)), colour)
        canvas.text((692, panel.y(place)), name, anchor="rm")
        gap, anchor = (5, "lm") if value >= 0.0 else (-5, "rm")
        canvas.text((panel.x(value) + gap, panel.y(place)), f"{value:.2f}", anchor=anchor)
    canvas.line([(panel.x(0.0), 415), (panel.x(0.0), 544)], INK, 1.0)
    canvas.text((640, 402), "cost" if frame.now.over else "cost so far", size=14.0)
    canvas.text((818, 577), "half-spreads per lot of the order", anchor="mm")
