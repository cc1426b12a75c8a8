"""Picture of an episode so far: inventory, price and cost, drawn with Pillow (a frame takes milliseconds)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache
from math import ceil, floor, log10
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.rendering import Frame, cost_components, headline, progress, shown_regime
from hyperexec_env.extras import need
from hyperexec_env.market.account import Statement
from hyperexec_env.market.regime import REGIME_NAMES

__all__ = [
    *("SIZE", "Canvas", "Panel", "draw", "draw_costs", "draw_inventory", "draw_regime_key", "draw_regimes", "line_key"),
    "ticks",
]

SIZE: Final = (960, 640)
"""Width and height of the picture, pixels."""
_SMOOTHING: Final = 3
"""Enlargement at which shapes are drawn before they are scaled down."""
INK, FAINT, GRID, BLUE, ORANGE, RED, GREEN = "#222222", "#777777", "#dddddd", "#1f5fa8", "#d9730d", "#b8322a", "#2e7d4f"
_SHADES: Final = ("#d5ecd4", "#f6dfbe", "#e4ecf4", "#c9d3ee", "#f3c6c9", "#e6d7f0", "#cfe8ec", "#ece3d2")
_BANDS: Final = dict(zip(REGIME_NAMES, itertools.cycle(_SHADES), strict=False))
"""Background colour of each regime."""
DASHED, DOTTED = (5.0, 3.0), (1.5, 2.5)
_LARGEST_FILL: Final = 7.0
"""Radius of the dot of the largest child, pixels."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


@cache
def _font(size: float) -> Any:
    return need("PIL.ImageFont", "plot").load_default(size)


class Canvas:
    """A white sheet for shapes and text, in pixels from the top left corner.

    Shapes are drawn enlarged and scaled down at the end, which smooths their edges; text is drawn over them at its size.
    """

    def __init__(self, width: int, height: int) -> None:
        """Make an empty sheet."""
        self._image = need("PIL.Image", "plot").new("RGB", (width * _SMOOTHING, height * _SMOOTHING), "white")
        self._shapes = need("PIL.ImageDraw", "plot").Draw(self._image)
        self._texts: list[tuple[Point, str, float, str, str]] = []

    def rectangle(self, box: Box, colour: str, outline: str | None = None) -> None:
        """Fill a rectangle, whose corners may come in any order."""
        left, right = sorted((box[0], box[2]))
        top, bottom = sorted((box[1], box[3]))
        corners = [_SMOOTHING * edge for edge in (left, top)] + [_SMOOTHING * edge - 1 for edge in (right, bottom)]
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            self._shapes.rectangle(corners, fill=colour, outline=outline, width=2)

    def line(self, points: Sequence[Point], colour: str, width: float, dash: Point | None = None) -> None:
        """Draw a line through points.

        Args:
            points: Points of the line.
            colour: Colour.
            width: Width, pixels.
            dash: Length of a dash and of the gap after it, pixels; None for a solid line.
        """
        pieces = [points] if dash is None else _dashes(np.array(points), *dash)
        for piece in pieces:
            enlarged = [(_SMOOTHING * x, _SMOOTHING * y) for x, y in piece]
            self._shapes.line(enlarged, fill=colour, width=round(_SMOOTHING * width), joint="curve")

    def disc(self, centre: Point, radius: float, colour: str, outline: str | None = None) -> None:
        """Fill a disc."""
        x, y = centre
        corners = [_SMOOTHING * edge for edge in (x - radius, y - radius, x + radius, y + radius)]
        self._shapes.ellipse(corners, fill=colour, outline=outline, width=2)

    def text(self, place: Point, text: str, size: float = 12.0, colour: str = INK, anchor: str = "lm") -> float:
        """Write text and return its width, pixels.

        Args:
            place: Where the anchor of the text is.
            text: One line.
            size: Size of the font, pixels.
            colour: Colour.
            anchor: Horizontal (l, m, r) and vertical (m: middle) alignment, as Pillow names them.
        """
        self._texts.append((place, text, size, colour, anchor))
        return text_width(text, size)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture, shape (height, width, 3)."""
        image = self._image.reduce(_SMOOTHING)
        draw = need("PIL.ImageDraw", "plot").Draw(image)
        for place, text, size, colour, anchor in self._texts:
            draw.text(place, text, fill=colour, font=_font(size), anchor=anchor)
        return np.array(image)


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text, pixels."""
    return float(_font(size).getlength(text))


def _dashes(points: NDArray[np.float64], dash: float, gap: float) -> list[list[Point]]:
    """Return the dashes of a line through points, each straight from its start to its end."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    starts = np.arange(0.0, length[-1], dash + gap)
    ends = np.stack([starts, np.minimum(starts + dash, length[-1])], axis=1)
    x, y = (np.interp(ends, length, column) for column in points.T)
    return [list(zip(*piece, strict=True)) for piece in zip(x.tolist(), y.tolist(), strict=True)]


def ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """Return round numbers between two values, at most `count` + 1, each with its text.

    They are multiples of 1, 2 or 5 times a power of ten.
    """
    rough = (high - low) / count
    power = floor(log10(rough))
    step = next(factor * 10.0**power for factor in (1.0, 2.0, 5.0, 10.0) if factor * 10.0**power >= rough * (1.0 - 1e-9))
    decimals = max(0, -floor(log10(step) + 1e-9))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [(number * step, f"{number * step:,.{decimals}f}") for number in range(first, last + 1)]


class Panel(NamedTuple):
    """A rectangle of the canvas with a scale on each side."""

    canvas: Canvas
    box: Box
    """Edges on the canvas, pixels."""
    x_range: Point
    """Values at the left and at the right edge."""
    y_range: Point
    """Values at the bottom and at the top edge."""

    def x(self, value: float) -> float:
        """Return where a value of the horizontal scale is, pixels."""
        low, high = self.x_range
        return self.box[0] + (value - low) / (high - low) * (self.box[2] - self.box[0])

    def y(self, value: float) -> float:
        """Return where a value of the vertical scale is, pixels."""
        low, high = self.y_range
        return self.box[3] - (value - low) / (high - low) * (self.box[3] - self.box[1])

    def line(self, x: Sequence[float], y: Sequence[float], colour: str, width: float, dash: Point | None = None) -> None:
        """Draw a line through points on the scales."""
        points = [(self.x(first), self.y(second)) for first, second in zip(x, y, strict=True)]
        if len(points) > 1:
            self.canvas.line(points, colour, width, dash)

    def frame(self) -> None:
        """Draw the left and the bottom edge."""
        left, top, right, bottom = self.box
        self.canvas.line([(left, top), (left, bottom)], FAINT, 1.0)
        self.canvas.line([(left, bottom), (right, bottom)], FAINT, 1.0)

    def horizontal_scale(self, count: int, labels: bool = True) -> None:
        """Draw a grid line for each tick of the horizontal scale, with its number below."""
        _, top, _, bottom = self.box
        for value, text in ticks(*self.x_range, count):
            self.canvas.line([(self.x(value), top), (self.x(value), bottom + 3)], GRID, 1.0)
            if labels:
                self.canvas.text((self.x(value), bottom + 13), text, anchor="mm")

    def vertical_scale(self, count: int) -> None:
        """Draw a grid line for each tick of the vertical scale, with its number on the left."""
        left, _, right, _ = self.box
        for value, text in ticks(*self.y_range, count):
            self.canvas.line([(left - 3, self.y(value)), (right, self.y(value))], GRID, 1.0)
            self.canvas.text((left - 8, self.y(value)), text, anchor="rm")


def draw(frame: Frame) -> NDArray[np.uint8]:
    """Draw a frame and return its pixels: inventory and price on the left, cost on the right, regimes in the background."""
    canvas = Canvas(*SIZE)
    title, clock = headline(frame)
    canvas.text((82, 30), title, size=19.0)
    canvas.text((82, 57), f"{clock}; {progress(frame)}; regime {shown_regime(frame)}", size=14.0, colour=FAINT)
    draw_inventory(canvas, frame)
    _draw_price(canvas, frame)
    draw_costs(canvas, frame.statement, frame.over)
    if len(frame.known) > 1:
        draw_regime_key(canvas, frame)
    return canvas.pixels()


def draw_regimes(panel: Panel, frame: Frame) -> None:
    """Colour the background by the regime of each slice that has begun."""
    if len(frame.known) > 1:
        _, top, _, bottom = panel.box
        for k, regime in enumerate(frame.regimes):
            panel.canvas.rectangle((_left(panel, frame, k), top, _left(panel, frame, k + 1), bottom), _BANDS[regime])


def _left(panel: Panel, frame: Frame, k: int) -> float:
    """Return where slice k starts, pixels."""
    return panel.x(k * frame.minutes)


def draw_inventory(canvas: Canvas, frame: Frame) -> None:
    """Draw the remaining shares over time, beside the schedule of the expected volume."""
    unit, label = (1e3, "thousand shares") if frame.quantity >= 1e4 else (1.0, "shares")
    minutes = [k * frame.minutes for k in range(frame.slices + 1)]
    remaining = [shares / unit for shares in frame.remaining]
    panel = Panel(canvas, (82, 110, 574, 307), (0.0, minutes[-1]), (0.0, 1.04 * frame.quantity / unit))
    draw_regimes(panel, frame)
    panel.horizontal_scale(8, labels=False)
    panel.vertical_scale(5)
    panel.frame()
    panel.line(minutes, [shares / unit for shares in frame.plan], FAINT, 1.4, dash=DASHED)
    panel.line(minutes[: frame.k + 1], remaining, BLUE, 2.4)
    canvas.disc((panel.x(minutes[frame.k]), panel.y(remaining[-1])), 4.0, BLUE)
    place = 106 + canvas.text((82, 96), label, colour=FAINT)
    place = line_key(canvas, (place, 96), "schedule of the expected volume", FAINT, 1.4, DASHED)
    line_key(canvas, (place, 96), "remaining", BLUE, 2.4)


def _draw_price(canvas: Canvas, frame: Frame) -> None:
    minutes = [k * frame.minutes for k in range(frame.slices + 1)]
    seen = [frame.arrival_price, *frame.mids, *(fill for fill in frame.fills if fill == fill)]
    low, high = min(seen), max(seen)
    margin = max(0.12 * (high - low), 5e-4 * frame.arrival_price)
    panel = Panel(canvas, (82, 347, 574, 544), (0.0, minutes[-1]), (low - margin, high + margin))
    draw_regimes(panel, frame)
    panel.horizontal_scale(8)
    panel.vertical_scale(5)
    panel.frame()
    panel.line((0.0, minutes[-1]), (frame.arrival_price, frame.arrival_price), FAINT, 1.4, dash=DOTTED)
    panel.line(minutes[: frame.k + 1], frame.mids, INK, 1.6)
    children = -np.diff(frame.remaining)
    largest = children.max(initial=0.0)
    for k, (fill, shares) in enumerate(zip(frame.fills, children.tolist(), strict=True)):
        if fill == fill:
            radius = max(_LARGEST_FILL * (shares / largest) ** 0.5, 2.0)
            canvas.disc((panel.x((k + 0.5) * frame.minutes), panel.y(fill)), radius, ORANGE, outline="white")
    canvas.text((328, 577), "minutes since the start of the order", anchor="mm")
    place = 106 + canvas.text((82, 333), "currency per share", colour=FAINT)
    place = line_key(canvas, (place, 333), "arrival price", FAINT, 1.4, DOTTED)
    place = line_key(canvas, (place, 333), "mid", INK, 1.6)
    canvas.disc((place + 12, 333), 4.0, ORANGE)
    canvas.text((place + 30, 333), "fill (area: shares)")


def line_key(canvas: Canvas, place: Point, name: str, colour: str, width: float, dash: Point | None = None) -> float:
    """Draw the key of a line and return where the next key starts, pixels."""
    x, y = place
    canvas.line([(x, y), (x + 24, y)], colour, width, dash)
    return x + 54 + canvas.text((x + 30, y), name)


def draw_costs(canvas: Canvas, statement: Statement, over: bool, box: Box = (722, 110, 936, 544)) -> None:
    """Draw the cost so far: a bar for each component, one for their sum and one for the risk term.

    Args:
        canvas: The sheet.
        statement: The cost, bps of the arrival notional.
        over: Whether the episode is over.
        box: Edges of the panel; the names of the bars are left of it, its title above.
    """
    left, top, right, bottom = box
    components = cost_components(statement)
    bars = [(name, value, RED if value > 0 else GREEN) for name, value in components]
    bars += [("shortfall", statement.shortfall, INK), ("risk term", statement.risk, FAINT)]
    places = [*range(len(components)), len(components) + 0.6, len(components) + 1.8]
    low, high = (choose(0.0, *(value for _, value, _ in bars)) for choose in (min, max))
    span = max(high - low, 10.0)
    x_range = (low - (0.42 if low else 0.05) * span, max(high, low + span) + 0.3 * span)
    panel = Panel(canvas, box, x_range, (places[-1] + 0.8, -0.8))
    panel.horizontal_scale(4)
    for place, (name, value, colour) in zip(places, bars, strict=True):
        canvas.rectangle((panel.x(0.0), panel.y(place - 0.31), panel.x(value), panel.y(place + 0.31)), colour)
        canvas.text((left - 8, panel.y(place)), name, anchor="rm")
        gap, anchor = (5, "lm") if value >= 0 else (-5, "rm")
        canvas.text((panel.x(value) + gap, panel.y(place)), f"{value:.1f}", anchor=anchor)
    canvas.line([(left, bottom), (right, bottom)], FAINT, 1.0)
    canvas.line([(panel.x(0.0), top), (panel.x(0.0), bottom)], INK, 1.0)
    canvas.text((left, top - 14), "cost" if over else "cost so far", size=14.0)
    canvas.text((0.5 * (left + right), bottom + 33), "bps of the arrival notional", anchor="mm")


def draw_regime_key(canvas: Canvas, frame: Frame) -> None:
    """Write the names of the regimes beside their colours, centred at the foot of the picture."""
    size = 11.0
    widths = [text_width(name, size) + 44 for name in frame.known]
    place = 0.5 * (SIZE[0] - sum(widths) + 24)
    for name, width in zip(frame.known, widths, strict=True):
        canvas.rectangle((place, 615, place + 14, 625), _BANDS[name], outline=FAINT)
        canvas.text((place + 20, 620), name, size)
        place += width
