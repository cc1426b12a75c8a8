"""Pictures of an episode so far: a text for the terminal, and a figure with matplotlib."""

from __future__ import annotations

import itertools
import logging
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

from hyperexec_env.envs.episode import Episode
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import mid_price, paid_cost
from hyperexec_env.market.regime import REGIME_NAMES

__all__ = ["Frame", "Painter", "describe", "look"]

_SIZE: Final = (9.6, 6.4)
_DPI: Final = 100
_BAR: Final = 40
_INK, _FAINT, _GRID, _BLUE, _ORANGE, _RED, _GREEN = "#222222", "#777777", "#dddddd", "#1f5fa8", "#d9730d", "#b8322a", "#2e7d4f"
_BANDS: Final = dict(zip(REGIME_NAMES, ("#d5ecd4", "#f6dfbe", "#e4ecf4", "#c9d3ee", "#f3c6c9", "#e6d7f0"), strict=True))
"""Background colour of each regime."""


class Frame(NamedTuple):
    """What there is to see of an episode: the past only."""

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
    """Slices done."""
    over: bool
    remaining: list[float]
    """Shares left at the start of each slice up to now, length k + 1."""
    plan: list[float]
    """Shares that the schedule of the expected volume has left, length N + 1."""
    mids: list[float]
    """Mid at the start of each slice up to now, currency per share, length k + 1."""
    fills: list[float]
    """Average price of each child, currency per share, nan where nothing traded, length k."""
    participation: list[float]
    """Shares traded over market volume of each slice, length k."""
    regimes: list[str]
    """Regime of each slice that has begun; empty where the observer is not told."""
    known: tuple[str, ...]
    """Regimes of the scenario; empty where the observer is not told."""
    statement: Statement
    """The cost so far, with the rest marked at the mid."""


def look(episode: Episode) -> Frame:
    """Take down an episode so far."""
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


def _headline(frame: Frame) -> tuple[str, str]:
    """Return what is executed, and where the clock stands."""
    verb = "buy" if frame.side > 0 else "sell"
    order = f"{frame.name}: {verb} {frame.quantity:,.0f} shares, arrival price {frame.arrival_price:,.2f}"
    whole = frame.slices * frame.minutes
    clock = f"slice {frame.k} of {frame.slices} done, minute {frame.k * frame.minutes:g} of {whole:g}"
    return order, clock + (", over" if frame.over else "")


def _progress(frame: Frame) -> str:
    """Return how the order stands against the schedule."""
    ahead = (frame.plan[frame.k] - frame.remaining[-1]) / frame.quantity
    if abs(ahead) < 5e-4:
        return "on schedule"
    return f"{abs(ahead):.1%} {'ahead of' if ahead > 0 else 'behind'} schedule"


def _regime(frame: Frame) -> str:
    """Return the regime that holds now."""
    return frame.regimes[-1] if frame.regimes else "not told"


def _adverse(frame: Frame) -> str:
    """Return the move of the mid since arrival."""
    move = 1e4 * (frame.mids[-1] / frame.arrival_price - 1.0)
    if abs(move) < 0.05:
        return "0.0 bps"
    return f"{move:+.1f} bps since arrival, {'against' if move * frame.side > 0 else 'for'} us"


def _costs(statement: Statement) -> list[tuple[str, float]]:
    """Return the components of the shortfall in the order in which they are shown, bps."""
    components = statement.components
    return [
        ("spread", components.spread),
        ("temporary", components.temporary),
        ("transient", components.transient),
        ("permanent", components.permanent),
        ("timing", components.timing),
        ("drift", components.drift),
        ("rest at the mid", components.opportunity),
    ]


def describe(frame: Frame) -> str:
    """Return an episode so far as text: eight lines, one fact each."""
    order, clock = _headline(frame)
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
    costs = ", ".join(f"{name} {value:.2f}" for name, value in _costs(statement) if value)
    lines = [
        order,
        f"clock      {clock}",
        f"left       [{''.join(bar)}] {share:.1%}, schedule {planned:.1%}: {_progress(frame)}",
        f"last fill  {fill}",
        f"mid        {frame.mids[-1]:,.4f} ({_adverse(frame)})",
        f"regime     {_regime(frame)}",
        f"shortfall  {statement.shortfall:.2f} bps" + (f" = {costs}" if costs else ""),
        f"risk       {statement.risk:.2f} bps",
    ]
    return "\n".join(lines) + "\n"


class Painter:
    """A figure that shows an episode: off screen, or in a window that follows it.

    Raises:
        DependencyNotInstalled: matplotlib is missing.
    """

    def __init__(self, window: bool) -> None:
        """Make the figure; matplotlib is imported here and nowhere else."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise DependencyNotInstalled('rendering needs matplotlib: pip install "hyperexec-env[plot]"') from None
        self._manager: Any = _open_window() if window else None
        self.figure: Any = self._manager.canvas.figure if self._manager else Figure(figsize=_SIZE, dpi=_DPI)
        self._canvas: Any = self._manager.canvas if self._manager else FigureCanvasAgg(self.figure)

    def paint(self, frame: Frame, pause: float = 0.0) -> None:
        """Draw a frame; a window shows it for `pause` seconds."""
        self.figure.clear()
        _draw(self.figure, frame)
        self._canvas.draw()
        if self._manager is not None and self._shown():
            self._manager.show()
            self._canvas.start_event_loop(pause)

    def _shown(self) -> bool:
        """Return whether the window is still there: who closes it does not want another."""
        from matplotlib import pyplot as plt

        return bool(plt.fignum_exists(self._manager.num))

    def pixels(self) -> NDArray[np.uint8]:
        """Return what was drawn, shape (height, width, 3)."""
        return np.ascontiguousarray(np.asarray(self._canvas.buffer_rgba())[..., :3])

    def close(self) -> None:
        """Close the figure and its window."""
        if self._manager is not None:
            from matplotlib import pyplot as plt

            plt.close(self.figure)
        self.figure.clear()


def _open_window() -> Any:
    """Return the manager of a new window, or None (and say so) where there is no screen."""
    from matplotlib import pyplot as plt
    from matplotlib.backend_bases import FigureManagerBase

    reason = ""
    try:
        figure = plt.figure(figsize=_SIZE, dpi=_DPI)
    except Exception as error:
        reason = f" ({error})"
    else:
        manager: Any = figure.canvas.manager
        if type(manager) is not FigureManagerBase:
            manager.set_window_title("HyperExec")
            return manager
        plt.close(figure)
    logging.getLogger(__name__).warning(
        "render_mode='human' found no screen to open a window on%s; drawing off screen. Use 'rgb_array' or 'ansi' instead.",
        reason,
    )
    return None


def _draw(figure: Any, frame: Frame) -> None:
    """Draw a frame: inventory and price on the left, costs on the right, regimes in the background."""
    order, clock = _headline(frame)
    grid = figure.add_gridspec(
        2, 2, width_ratios=(2.3, 1.0), left=0.085, right=0.975, top=0.83, bottom=0.15, wspace=0.42, hspace=0.2
    )
    inventory = figure.add_subplot(grid[0, 0])
    price = figure.add_subplot(grid[1, 0], sharex=inventory)
    costs = figure.add_subplot(grid[:, 1])
    figure.text(0.085, 0.95, order, fontsize=12, color=_INK, weight="bold", va="center")
    figure.text(0.085, 0.91, f"{clock}; {_progress(frame)}; regime {_regime(frame)}", fontsize=9.5, color=_FAINT, va="center")
    for axes in (inventory, price, costs):
        _style(axes)
    for axes in (inventory, price):
        _draw_regimes(axes, frame)
    _draw_inventory(inventory, frame)
    _draw_price(price, frame)
    _draw_costs(costs, frame)
    if len(frame.known) > 1:
        _regime_legend(figure, frame)


def _style(axes: Any) -> None:
    """Quiet the frame of a panel."""
    axes.tick_params(labelsize=8.5, colors=_INK, length=3)
    for place in ("top", "right"):
        axes.spines[place].set_visible(False)
    for place in ("left", "bottom"):
        axes.spines[place].set_color(_FAINT)
    axes.grid(True, color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _legend_above(axes: Any) -> None:
    """Put the legend over the panel, where it hides nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 0.98), "borderpad": 0.2}
    axes.legend(**place, ncols=3, fontsize=8.5, frameon=False, markerscale=0.6, columnspacing=1.4, handlelength=1.8)


def _draw_regimes(axes: Any, frame: Frame) -> None:
    """Colour the background by the regime of each slice that has begun."""
    if len(frame.known) > 1:
        for k, regime in enumerate(frame.regimes):
            axes.axvspan(k * frame.minutes, (k + 1) * frame.minutes, color=_BANDS[regime], linewidth=0.0, zorder=0)
    axes.set_xlim(0.0, frame.slices * frame.minutes)


def _draw_inventory(axes: Any, frame: Frame) -> None:
    unit, label = (1e3, "thousand shares") if frame.quantity >= 1e4 else (1.0, "shares")
    plan, remaining = np.array(frame.plan) / unit, np.array(frame.remaining) / unit
    axes.plot(np.arange(len(plan)) * frame.minutes, plan, "--", color=_FAINT, lw=1.3, label="schedule of the expected volume")
    axes.plot(np.arange(len(remaining)) * frame.minutes, remaining, "-", color=_BLUE, lw=2.0, label="left to trade")
    axes.plot(frame.k * frame.minutes, remaining[-1], "o", color=_BLUE, ms=5, clip_on=False)
    axes.set_ylim(0.0, 1.04 * frame.quantity / unit)
    axes.set_ylabel(label, fontsize=9)
    axes.tick_params(labelbottom=False)
    _legend_above(axes)


def _draw_price(axes: Any, frame: Frame) -> None:
    axes.axhline(frame.arrival_price, color=_FAINT, lw=1.1, ls=":", label="arrival price")
    axes.plot(np.arange(frame.k + 1) * frame.minutes, frame.mids, "-", color=_INK, lw=1.3, label="mid")
    shares = -np.diff(frame.remaining)
    size = 6.0 + 90.0 * shares / max(float(shares.max(initial=0.0)), 1e-12)
    middle = (np.arange(frame.k) + 0.5) * frame.minutes
    axes.scatter(middle, frame.fills, s=size, color=_ORANGE, alpha=0.8, linewidths=0, zorder=3, label="fill (area: shares)")
    seen = [frame.arrival_price, *frame.mids, *(fill for fill in frame.fills if fill == fill)]
    low, high = min(seen), max(seen)
    margin = max(0.12 * (high - low), 5e-4 * frame.arrival_price)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("minutes since the start of the order", fontsize=9)
    axes.set_ylabel("currency per share", fontsize=9)
    axes.ticklabel_format(axis="y", useOffset=False)
    _legend_above(axes)


def _draw_costs(axes: Any, frame: Frame) -> None:
    """Draw the cost so far: a bar for each component, one for their sum and one for the risk term."""
    statement = frame.statement
    components = _costs(statement)
    names = [*(name for name, _ in components), "shortfall", "risk term"]
    values = [*(value for _, value in components), statement.shortfall, statement.risk]
    places = [*range(len(components)), len(components) + 0.6, len(components) + 1.8]
    colours = [*(_RED if value > 0 else _GREEN for _, value in components), _INK, _FAINT]
    low, high = min(0.0, *values), max(0.0, *values)
    span = max(high - low, 10.0)
    axes.barh(places, values, height=0.62, color=colours)
    for place, value in zip(places, values, strict=True):
        gap, side = (0.02, "left") if value >= 0 else (-0.02, "right")
        axes.text(value + gap * span, place, f"{value:.1f}", va="center", ha=side, fontsize=8.5, color=_INK)
    axes.axvline(0.0, color=_INK, lw=0.8)
    axes.set_xlim(low - (0.42 if low else 0.05) * span, max(high, low + span) + 0.3 * span)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.set_xlabel("bps of the arrival notional", fontsize=9)
    axes.set_title("cost" if frame.over else "cost so far", fontsize=10, color=_INK, loc="left")


def _regime_legend(figure: Any, frame: Frame) -> None:
    from matplotlib.patches import Patch

    figure.legend(
        [Patch(facecolor=_BANDS[name], edgecolor=_FAINT, linewidth=0.5) for name in frame.known],
        list(frame.known),
        loc="lower center",
        ncols=len(frame.known),
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.4,
        bbox_to_anchor=(0.5, 0.005),
    )
