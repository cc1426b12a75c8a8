"""Rendering of an episode so far: text for the terminal, pixels, and a window that follows the episode."""

from __future__ import annotations

import itertools
import logging
import math
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from hyperexec_env.envs.episode import Episode, draw_block, requested_shares
from hyperexec_env.envs.task import Task
from hyperexec_env.envs.uncertainty import episode_of
from hyperexec_env.extras import MissingExtra, need
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import mid_price, paid_cost
from hyperexec_env.market.lane import Lane, Ticket
from hyperexec_env.market.noise import BOARD

__all__ = ["Frame", "Gallery", "Painter", "cost_components", "describe", "headline", "look", "progress", "shown_regime"]

_BAR: Final = 40
"""Characters of the bar that shows the remaining shares."""
_WINDOW: Final = (9.6, 6.4)
"""Width and height of a new window, inches."""


_DRAWN: Final = 16
"""Largest number of lanes of a vector environment that are drawn."""
_FULL_SIZE: Final = 4
"""Largest number of lanes whose pictures have full size."""


class Frame(NamedTuple):
    """What a picture of an episode shows: the past only."""

    name: str
    """Name of the scenario."""
    side: float
    quantity: float
    arrival_price: float
    slices: int
    """Number of slices N."""
    minutes: float
    """Length of a slice, minutes."""
    k: int
    """Number of slices traded."""
    over: bool
    remaining: list[float]
    """Remaining shares at the start of each slice so far, length k + 1."""
    plan: list[float]
    """Remaining shares under the schedule of the expected volume (VWAP), length N + 1."""
    mids: list[float]
    """Mid at the start of each slice so far, currency per share, length k + 1."""
    fills: list[float]
    """Average price of each child, currency per share, length k; nan where the slice traded nothing."""
    participation: list[float]
    """Shares traded over market volume, by slice, length k."""
    regimes: list[str]
    """Regime of each slice that has begun; empty where the regime is hidden."""
    known: tuple[str, ...]
    """Regimes of the scenario; empty where the regime is hidden."""
    statement: Statement
    """Cost so far, with the remaining shares marked at the mid."""


def look(episode: Episode) -> Frame:
    """Return the frame of an episode so far."""
    task, world = episode.task, episode.world
    scenario, side, k = task.scenario, episode.side, episode.k
    names = () if task.observer.hidden else scenario.regimes.names
    states = episode.states
    children = [before.remaining - after.remaining for before, after in itertools.pairwise(states)]
    paid = [paid_cost(cost) for cost in episode.costs]
    prices = world.price.tolist()
    return Frame(
        name=scenario.name,
        side=side,
        quantity=episode.quantity,
        arrival_price=scenario.arrival_price,
        slices=task.market.slices,
        minutes=scenario.horizon_minutes / scenario.slices,
        k=k,
        over=episode.over,
        remaining=[state.remaining for state in states],
        plan=(task.market.plan * episode.quantity).tolist(),
        mids=[mid_price(state, price, side) for state, price in zip(states, prices, strict=False)],
        fills=[
            price + side * cash / shares if shares else float("nan")
            for price, cash, shares in zip(prices, paid, children, strict=False)
        ],
        participation=[shares / slice.volume for shares, slice in zip(children, episode.slices, strict=False)],
        regimes=[names[regime] for regime in world.regime[: min(k + 1, task.market.slices)].tolist()] if names else [],
        known=tuple(names),
        statement=episode.statement(),
    )


def headline(frame: Frame) -> tuple[str, str]:
    """Return the order in words, and the time."""
    verb = "buy" if frame.side > 0 else "sell"
    order = f"{frame.name}: {verb} {frame.quantity:,.0f} shares, arrival price {frame.arrival_price:,.2f}"
    whole = frame.slices * frame.minutes
    clock = f"slice {frame.k} of {frame.slices} done, minute {frame.k * frame.minutes:g} of {whole:g}"
    return order, clock + (", over" if frame.over else "")


def progress(frame: Frame) -> str:
    """Return how far the order is ahead of the schedule of the expected volume, or behind it, in words."""
    ahead = (frame.plan[frame.k] - frame.remaining[-1]) / frame.quantity
    if abs(ahead) < 5e-4:
        return "on schedule"
    return f"{abs(ahead):.1%} {'ahead of' if ahead > 0 else 'behind'} schedule"


def shown_regime(frame: Frame) -> str:
    """Return the current regime, in words."""
    return frame.regimes[-1] if frame.regimes else "hidden"


def _adverse(frame: Frame) -> str:
    """Return the move of the mid since arrival, in words."""
    move = 1e4 * (frame.mids[-1] / frame.arrival_price - 1.0)
    if abs(move) < 0.05:
        return "0.0 bps"
    return f"{move:+.1f} bps since arrival, {'against' if move * frame.side > 0 else 'for'} us"


def cost_components(statement: Statement) -> list[tuple[str, float]]:
    """Return the components of the shortfall in display order, bps."""
    return list(statement.components._asdict().items())


def describe(frame: Frame) -> str:
    """Return the frame as text: eight lines, one fact each."""
    order, clock = headline(frame)
    share, planned = frame.remaining[-1] / frame.quantity, frame.plan[frame.k] / frame.quantity
    bar = ["#" if (i + 0.5) / _BAR < share else "." for i in range(_BAR)]
    bar[min(int(planned * _BAR), _BAR - 1)] = "|"
    fill = "nothing yet"
    if frame.k:
        fill = "nothing traded"
        if frame.fills[-1] == frame.fills[-1]:
            shares = frame.remaining[-2] - frame.remaining[-1]
            fill = f"{shares:,.0f} shares at {frame.fills[-1]:,.4f}, {frame.participation[-1]:.1%} of the volume"
    statement = frame.statement
    costs = ", ".join(f"{name} {value:.2f}" for name, value in cost_components(statement) if value)
    lines = [
        order,
        f"clock      {clock}",
        f"remaining  [{''.join(bar)}] {share:.1%}, schedule {planned:.1%}: {progress(frame)}",
        f"last fill  {fill}",
        f"mid        {frame.mids[-1]:,.4f} ({_adverse(frame)})",
        f"regime     {shown_regime(frame)}",
        f"shortfall  {statement.shortfall:.2f} bps" + (f" = {costs}" if costs else ""),
        f"risk       {statement.risk:.2f} bps",
    ]
    return "\n".join(lines) + "\n"


class Painter:
    """Draws frames as pixels and, if asked to, shows them in a window.

    Pillow, and matplotlib for the window, are imported here and not with the package.

    Args:
        window: Whether to open a window. Where there is no screen the painter logs a warning and only draws pixels.

    Raises:
        DependencyNotInstalled: Pillow is missing, or matplotlib for a window.
    """

    def __init__(self, window: bool) -> None:
        """Import what draws, and open the window."""
        _import("PIL.ImageDraw", "pillow")
        self._window = _open_window() if window else None
        self._pixels: NDArray[np.uint8]

    def paint(self, frame: Frame, pause: float = 0.0) -> None:
        """Draw a frame; an open window shows it for `pause` seconds."""
        from hyperexec_env.envs.picture import draw

        self.show(draw(frame), pause)

    def show(self, pixels: NDArray[np.uint8], pause: float = 0.0) -> None:
        """Take a picture, shape (height, width, 3); an open window shows it for `pause` seconds."""
        self._pixels = pixels
        if self._window is not None:
            self._window.show(pixels, pause)

    def pixels(self) -> NDArray[np.uint8]:
        """Return the picture of the last frame, shape (height, width, 3)."""
        return self._pixels

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window.close()


class _Window:
    """A window of matplotlib that shows pictures until its user closes it."""

    def __init__(self, figure: Any) -> None:
        """Take the figure of the window; the first picture is drawn by :meth:`show`."""
        self._figure, self._manager = figure, figure.canvas.manager
        self._image: Any = None

    def show(self, pixels: NDArray[np.uint8], pause: float) -> None:
        """Show a picture and let the window react for `pause` seconds; a window that its user closed stays closed."""
        if not _pyplot().fignum_exists(self._manager.num):
            return
        if self._image is None:
            axes = self._figure.add_axes((0.0, 0.0, 1.0, 1.0))
            axes.set_axis_off()
            self._image = axes.imshow(pixels)
        self._image.set_data(pixels)
        canvas = self._figure.canvas
        canvas.draw()
        self._manager.show()
        canvas.start_event_loop(max(pause, 1e-3))  # 0 would wait for ever

    def close(self) -> None:
        """Close the window."""
        _pyplot().close(self._figure)


def _open_window() -> _Window | None:
    """Return a new window, or None (with a warning in the log) where there is no screen."""
    plt = _pyplot()
    reason = ""
    try:
        figure = plt.figure(figsize=_WINDOW, dpi=100)
    except Exception as error:
        reason = f" ({error})"
    else:
        manager = figure.canvas.manager
        if type(manager) is not need("matplotlib.backend_bases", "plot").FigureManagerBase:
            manager.set_window_title("HyperExec")
            return _Window(figure)
        plt.close(figure)
    logging.getLogger(__name__).warning(
        "render_mode='human' found no screen to open a window on%s; drawing off screen. Use 'rgb_array' or 'ansi' instead.",
        reason,
    )
    return None


def _pyplot() -> Any:
    return _import("matplotlib.pyplot", "matplotlib")


class Gallery:
    """The shares that the first lanes asked for in their episodes, from which their pictures are drawn on request.

    A lane keeps the last slice only; its episode is traded again on its path, which the noise of its seed and number gives.

    Args:
        task: The task of the lanes.
        lanes: Number of lanes.
    """

    def __init__(self, task: Task, lanes: int) -> None:
        """Begin without a slice."""
        self._task, self._lanes = task, lanes
        self._asked: list[list[float] | None] = [[] for _ in range(min(lanes, _DRAWN))]
        """Shares asked for in each slice so far, by lane; None where the beginning of the episode was not noted."""

    def note(self, lane: Lane) -> None:
        """Note the last slice of the lanes."""
        count = len(self._asked)
        for number, (k, asked) in enumerate(zip(lane.k[:count].tolist(), lane.last.asked[:count].tolist(), strict=True)):
            before = self._asked[number]
            if k == 0:
                self._asked[number] = []
            elif before is not None and k == len(before) + 1:
                before.append(asked)
            elif before is None or k != len(before):  # restored in the middle of an episode
                self._asked[number] = None

    def pictures(self, ticket: Ticket) -> tuple[NDArray[np.uint8], ...]:
        """Return a picture of each lane, given their tickets; black where a lane is not drawn."""
        painter = Painter(window=False)
        from hyperexec_env.envs.picture import SIZE

        width, height = SIZE
        # sides are divided by 1, 2, 4, 8 or 16, so that the pictures of many lanes stay small together
        factor = min(2 ** math.ceil(math.log2(max(self._lanes / _FULL_SIZE, 1.0)) / 2.0), 16)
        pictures = [np.zeros((height // factor, width // factor, 3), np.uint8)] * self._lanes
        for number, asked in enumerate(self._asked):
            if asked is not None:
                painter.paint(look(self._episode(ticket, number, asked)))
                blocks = painter.pixels().reshape(height // factor, factor, width // factor, factor, 3)
                pictures[number] = blocks.mean(axis=(1, 3)).astype(np.uint8)
        return tuple(pictures)

    def _episode(self, ticket: Ticket, lane: int, asked: list[float]) -> Episode:
        """Return the episode of a lane, traded as far as the lane."""
        seed, number = int(ticket.seed[lane]), int(ticket.episode[lane]) - 1  # a ticket is that of the next episode
        episode = episode_of(self._task, draw_block(self._task, seed, number, 1, board=bool(seed >= BOARD)), number)
        for shares in asked:
            episode.trade(requested_shares, shares)
        return episode


def _import(module: str, package: str) -> Any:
    """Import a module that draws.

    Raises:
        DependencyNotInstalled: The package is missing; the message is the install command.
    """
    try:
        return need(module, "plot")
    except MissingExtra:
        raise DependencyNotInstalled(f'rendering needs {package}: pip install "hyperexec-env[plot]"') from None
