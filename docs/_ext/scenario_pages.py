"""The page of a scenario: what it is, its best schedules, one day, the computed objectives, a board, and its card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from kind_pages import block

import hyperexec_env as hx
from hyperexec_env.baselines.card import card
from hyperexec_env.baselines.policies import BASELINES, Schedule
from hyperexec_env.market.tables import build_market

EPISODES = 2_000
"""Episodes of the board of a page."""


def page(name: str, folder: Path) -> str:
    """Return the page of a scenario, and write its picture to a folder."""
    scenario, solution = hx.get_scenario(name), hx.solve(name)
    board = hx.evaluate(name, ["baselines", "sanity"], episodes=EPISODES, backend="numpy")
    picture(scenario, solution, folder / f"{name}.svg")
    caption = CAPTION.format(best="the optimal policy" if solution.policy else "VWAP")
    text = [f"# {name}", f"{scenario.description}.", f"![{name}]({name}.svg)", caption]
    text += ["## Objectives, computed", block("bash", f"hyperexec solve {name}"), objectives(solution)]
    text += ["## Board", command(name), board.to_markdown()]
    parameters, verdict = split_card(name)
    text += ["## Certificate", block("bash", f"hyperexec certify {name}"), block("text", verdict)]
    text += ["## Card", block("bash", f"hyperexec card {name}"), block("text", parameters)]
    return "\n\n".join([*text, ""])


CAPTION = """Left: remaining shares under the fixed baselines and the best fixed schedule (where it is known), and the expected
volume of each slice. Right: one day under {best} and under TWAP, and the move of the mid against the order under {best}."""


def command(name: str) -> str:
    """Return the command that prints the board of a page."""
    return block("bash", f"hyperexec evaluate --scenario {name} --policy baselines sanity --episodes {EPISODES} --seed 0")


def objectives(solution: Any) -> str:
    """Return the table of the computed objectives, or the bounds where the scenario is not solved exactly."""
    best = solution.optimum_bps
    if best is None:
        return f"{solution.bounds[0].upper()}{solution.bounds[1:]}."
    known = {
        "TWAP": solution.twap_bps,
        "best fixed schedule": solution.open_loop_bps,
        "best policy that observes the regime one slice late": solution.regime_blind_bps,
        "optimum J*": best,
        **{f"optimum J*, if the order starts in {regime}": value for regime, value in solution.by_regime.items()},
    }
    rows = [f"| {label} | {value:.4f} | {value - best:+.4f} |" for label, value in known.items() if value is not None]
    return "\n".join(["| objective | bps | above J* |", "| --- | --- | --- |", *rows, "", f"Method: {solution.accuracy}."])


def split_card(name: str) -> tuple[str, str]:
    """Return the parameters of the card, and the verdict of the certificate with which the card ends."""
    parameters, _, rest = str(card(name)).partition("\nobjective")
    _, mark, verdict = rest.partition("\ncertificate: ")
    return parameters.rstrip(), (mark + verdict).strip()


def best_policy(solution: Any) -> Any:
    """Return the optimal policy, or VWAP where the optimum is unknown."""
    return solution.policy or hx.get_policy("VWAP")


def picture(scenario: Any, solution: Any, path: Path) -> None:
    """Draw the fixed schedules, and a day."""
    with drawn(path) as (left, right):
        draw_schedules(left, build_market(scenario), solution)
        draw_day(right, scenario, best_policy(solution))


@contextlib.contextmanager
def drawn(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield two axes side by side, and write the picture, whose bytes depend on its content alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "hyperexec"}):
        figure, axes = pyplot.subplots(1, 2, figsize=(10.0, 3.4), layout="constrained")
        yield tuple(axes)
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)


def minutes(scenario: Any) -> Any:
    """Return the start of each slice and the end, minutes after the open, shape (slices + 1,)."""
    return np.linspace(scenario.start_minute, scenario.start_minute + scenario.horizon_minutes, scenario.slices + 1)


def draw_schedules(axes: Any, market: Any, solution: Any) -> None:
    """Draw the expected volume, the fixed baselines and the best fixed schedule."""
    times, volume = minutes(market.scenario), market.mean_volume[:-1, market.unknown]
    axes.bar(times[:-1], volume / volume.max(), 0.9 * (times[1] - times[0]), align="edge", color="0.9", label="volume")
    for label, make in BASELINES.items():
        policy = make()
        if isinstance(policy, Schedule):
            axes.plot(times, remaining(policy.fractions(market)[: market.slices]), lw=1.0, label=label)
    if len(solution.fractions):
        axes.plot(times, remaining(solution.fractions), lw=2.5, color="black", label="best fixed schedule")
    axes.set(xlabel="minutes after the open", ylabel="remaining, fraction", title="fixed schedules")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")


def draw_day(axes: Any, scenario: Any, policy: Any) -> None:
    """Draw one day under a policy and under TWAP: the remaining shares, and the mid of the day under the policy."""
    times = minutes(scenario)
    for trader, colour in ((hx.get_policy("TWAP"), "tab:orange"), (policy, "black")):
        left, moved = day(scenario, trader)
        axes.step(times[: len(left)], left, where="post", color=colour, label=trader.name)
    axes.set(xlabel="minutes after the open", ylabel="remaining, fraction", title="one day")
    other = axes.twinx()
    other.plot(times[: len(moved)], moved, color="tab:blue", lw=0.8, alpha=0.7)
    other.set_ylabel("move of the mid against the order, bps", color="tab:blue")
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def day(scenario: Any, policy: Any) -> tuple[list[float], list[float]]:
    """Return the remaining fraction of the order and the adverse move of the mid in bps, by slice, of episode 0 of seed 1."""
    env = hx.make(scenario).unwrapped
    env.reset(seed=1)
    left, moved, terminated = [1.0], [0.0], False
    while not terminated:
        terminated = env.trade(float(policy.act(env.situation)))[2]
        now = env.situation
        left.append(float(now.remaining) / float(now.quantity))
        price = float(now.side) * (float(now.price) - scenario.arrival_price) + float(now.permanent) + float(now.transient)
        moved.append(1e4 * price / scenario.arrival_price)
    return left, moved


def remaining(fractions: Any) -> list[float]:
    """Return the remaining fraction of the order at the start of each slice and at the end, from fractions of the remaining."""
    left = [1.0]
    for fraction in fractions:
        left.append(left[-1] * (1.0 - float(fraction)))
    return left
