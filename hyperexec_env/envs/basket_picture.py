"""Picture of an episode of a basket so far: a small panel for each asset, the risk that is left, and the cost."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.basket_episode import BasketEpisode
from hyperexec_env.envs.basket_task import total_statement
from hyperexec_env.envs.picture import BLUE, DASHED, FAINT, INK, ORANGE, SIZE, Box, Canvas, Panel, draw_costs, line_key
from hyperexec_env.market.account import Statement

__all__ = ["BasketFrame", "draw_basket", "look_at_basket"]

_PANELS: Box = (60.0, 112.0, 640.0, 560.0)
_RISK: Box = (722.0, 112.0, 936.0, 262.0)
_COSTS: Box = (722.0, 330.0, 936.0, 560.0)


class BasketFrame(NamedTuple):
    """What a picture of an episode of a basket shows: the past only."""

    name: str
    """Name of the basket."""
    symbols: tuple[str, ...]
    sides: tuple[float, ...]
    slices: int
    """Number of slices N."""
    minutes: float
    """Length of a slice, minutes."""
    k: int
    """Number of slices traded."""
    over: bool
    regime: str
    """Regime of the current slice; empty where the basket has one regime or the regime is hidden."""
    remaining: NDArray[np.float64]
    """Remaining fraction of each order at the start of each slice so far, shape (assets, k + 1)."""
    plans: NDArray[np.float64]
    """Remaining fraction under the schedule of the expected volume, shape (assets, N + 1)."""
    pulls: tuple[float, ...]
    """Correlation of each asset with the remaining basket, in the directions of the orders; negative: a hedge."""
    value: tuple[float, ...]
    """Remaining value over that of the orders, at the start of each slice so far, length k + 1."""
    risk: tuple[float, ...]
    """Standard deviation of the remaining basket over that of the whole one, length k + 1."""
    costs: tuple[float, ...]
    """Objective of each asset so far, bps of the basket's notional; nan where it is hidden."""
    statement: Statement
    """Cost so far, with the remaining shares marked at the mid."""


def look_at_basket(episode: BasketEpisode) -> BasketFrame:
    """Return the frame of an episode so far."""
    task, k = episode.task, episode.k
    basket, market = task.market.scenario, task.market
    shares = np.array(episode.remaining)
    seen = [episode.seen(row) for row in shares]
    settled = episode.settled()
    names, hidden = basket.regimes.names, task.hidden or len(basket.regimes.names) == 1
    return BasketFrame(
        name=basket.name,
        symbols=basket.symbols,
        sides=tuple(episode.sides),
        slices=market.slices,
        minutes=basket.assets[0].horizon_minutes / market.slices,
        k=k,
        over=episode.over,
        regime="" if hidden else names[episode.regime],
        remaining=(shares / shares[0]).T,
        plans=np.array([each.plan for each in market.markets]),
        pulls=tuple(seen[-1][1]),
        value=tuple(values[0] for values, _ in seen),
        risk=tuple(math.sqrt(values[1] / (1.0 - values[1])) for values, _ in seen),
        costs=tuple(one.statement.objective for one in settled),
        statement=total_statement([one.statement for one in settled]),
    )


def draw_basket(frame: BasketFrame) -> NDArray[np.uint8]:
    """Draw a frame and return its pixels: the assets as small multiples on the left, risk left and cost on the right."""
    canvas = Canvas(*SIZE)
    clock = f"slice {frame.k} of {frame.slices} done" + (", over" if frame.over else "")
    facts = f"{clock}; {frame.value[-1]:.1%} of the value and {frame.risk[-1]:.1%} of the risk left"
    canvas.text((60, 30), f"{frame.name}: {_orders(frame)}", size=19.0)
    canvas.text((60, 57), facts + (f"; regime {frame.regime}" if frame.regime else ""), size=14.0, colour=FAINT)
    _draw_keys(canvas)
    for asset, box in enumerate(_boxes(len(frame.symbols))):
        _draw_asset(canvas, frame, asset, box)
    canvas.text((350, 590), "minutes since the start of the orders; remaining fraction of each", anchor="mm")
    _draw_risk(canvas, frame)
    if math.isfinite(frame.statement.shortfall):
        draw_costs(canvas, frame.statement, frame.over, _COSTS)
    return canvas.pixels()


def _orders(frame: BasketFrame) -> str:
    """Return the orders in words."""
    buys = sum(side > 0 for side in frame.sides)
    return f"{buys} to buy, {len(frame.sides) - buys} to sell"


def _draw_keys(canvas: Canvas) -> None:
    """Draw the keys of the lines."""
    place = 60.0
    for name, colour, dash in (("buy", BLUE, None), ("sell", ORANGE, None), ("schedule of the expected volume", FAINT, DASHED)):
        place = line_key(canvas, (place, 82), name, colour, 1.4 if dash else 2.4, dash)


def _boxes(count: int) -> list[Box]:
    """Return the edges of the panel of each asset, in rows."""
    columns = math.ceil(math.sqrt(1.4 * count))
    rows = -(-count // columns)
    left, top, right, bottom = _PANELS
    width, height = (right - left) / columns, (bottom - top) / rows
    corners = [(left + width * (i % columns), top + height * (i // columns)) for i in range(count)]
    return [(x, y + min(16.0, 0.3 * height), x + 0.84 * width, y + 0.8 * height) for x, y in corners]


def _draw_asset(canvas: Canvas, frame: BasketFrame, asset: int, box: Box) -> None:
    """Draw the remaining fraction of one order, with its pull in the title."""
    minutes = [k * frame.minutes for k in range(frame.slices + 1)]
    colour, wide = (BLUE if frame.sides[asset] > 0 else ORANGE), box[2] - box[0] > 80.0
    panel = Panel(canvas, box, (0.0, minutes[-1]), (0.0, 1.04))
    if wide:
        panel.horizontal_scale(2)
        panel.vertical_scale(2)
    panel.frame()
    left = frame.remaining[asset].tolist()
    panel.line(minutes, frame.plans[asset].tolist(), FAINT, 1.2, dash=DASHED)
    panel.line(minutes[: frame.k + 1], left, colour, 2.2)
    canvas.disc((panel.x(minutes[frame.k]), panel.y(left[-1])), 3.0, colour)
    canvas.text((box[0], box[1] - 9.0), frame.symbols[asset][:12], size=12.0 if wide else 9.0, colour=colour)
    if wide and not frame.over:
        canvas.text((box[2], box[1] - 9.0), f"pull {frame.pulls[asset]:+.2f}", size=10.0, colour=FAINT, anchor="rm")


def _draw_risk(canvas: Canvas, frame: BasketFrame) -> None:
    """Draw the standard deviation and the value of what remains, over those of the whole basket."""
    minutes = [k * frame.minutes for k in range(frame.slices + 1)]
    panel = Panel(canvas, _RISK, (0.0, minutes[-1]), (0.0, 1.04 * max(1.0, *frame.risk)))
    panel.horizontal_scale(4)
    panel.vertical_scale(4)
    panel.frame()
    panel.line(minutes[: frame.k + 1], frame.value, FAINT, 1.6)
    panel.line(minutes[: frame.k + 1], frame.risk, INK, 2.4)
    canvas.disc((panel.x(minutes[frame.k]), panel.y(frame.risk[-1])), 3.5, INK)
    place = line_key(canvas, (722.0, 96.0), "risk left", INK, 2.4)
    line_key(canvas, (place, 96.0), "value left", FAINT, 1.6)
