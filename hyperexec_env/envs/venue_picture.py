"""Picture of an episode with venues: the inventory, the fills of each venue by slice, and the cost."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.picture import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    SIZE,
    Canvas,
    Panel,
    draw_costs,
    draw_inventory,
    draw_regime_key,
    draw_regimes,
    text_width,
)
from hyperexec_env.envs.rendering import headline, progress, shown_regime
from hyperexec_env.envs.venue_frame import VenueFrame

__all__ = ["draw_venues"]

_LIT: Final = (BLUE, "#6f9fd8", "#a9c7e8", "#3a7ca5", "#8fb8de")
"""Colours of lit venues, in turn."""
_HIDDEN: Final = (ORANGE, GREEN, "#7b3f98", "#8a6d3b")
"""Colours of hidden venues, in turn."""
_SIZE: Final = 12.0


def draw_venues(frame: VenueFrame) -> NDArray[np.uint8]:
    """Draw a frame and return its pixels: inventory and fills by venue on the left, cost on the right."""
    canvas, whole = Canvas(*SIZE), frame.whole
    title, clock = headline(whole)
    canvas.text((82, 30), title, size=19.0)
    canvas.text((82, 57), f"{clock}; {progress(whole)}; regime {shown_regime(whole)}", size=14.0, colour=FAINT)
    draw_inventory(canvas, whole)
    _draw_fills(canvas, frame)
    draw_costs(canvas, whole.statement, whole.over)
    if len(whole.known) > 1:
        draw_regime_key(canvas, whole)
    return canvas.pixels()


def _colours(frame: VenueFrame) -> list[str]:
    """Return the colour of each venue."""
    hidden = range(len(frame.names) - frame.lit)
    return [*(_LIT[v % len(_LIT)] for v in range(frame.lit)), *(_HIDDEN[v % len(_HIDDEN)] for v in hidden)]


def _draw_fills(canvas: Canvas, frame: VenueFrame) -> None:
    """Draw the shares that each venue filled in each slice, stacked; a line marks all shares requested of hidden venues."""
    whole = frame.whole
    unit, label = (1e3, "thousand shares") if whole.quantity >= 1e4 else (1.0, "shares")
    totals = [sum(fills) for fills in frame.fills]
    top = 1.15 * max(max(totals, default=0.0), whole.quantity / whole.slices) / unit
    minutes = whole.slices * whole.minutes
    panel = Panel(canvas, (82, 347, 574, 544), (0.0, minutes), (0.0, top))
    draw_regimes(panel, whole)
    panel.horizontal_scale(8)
    panel.vertical_scale(5)
    panel.frame()
    colours = _colours(frame)
    for k, fills in enumerate(frame.fills):
        left, right = panel.x(k * whole.minutes) + 1.5, panel.x((k + 1) * whole.minutes) - 1.5
        base = 0.0
        for fill, colour in zip(fills, colours, strict=True):
            if fill > 0.0:
                canvas.rectangle((left, panel.y(base / unit), right, panel.y((base + fill) / unit)), colour)
            base += fill
    canvas.text((328, 577), "minutes since the start of the order", anchor="mm")
    place = 100 + canvas.text((82, 333), f"{label} filled", colour=FAINT)
    for name, colour in zip(frame.names, colours, strict=True):
        if place + 30 + text_width(name, _SIZE) > 580:
            canvas.text((place, 333), "...", colour=INK)
            break
        canvas.rectangle((place, 328, place + 12, 339), colour)
        place += 34 + canvas.text((place + 17, 333), name, _SIZE)
