r"""Calibration error of a board: how differences between policies vary over the draws of a posterior.

Every policy trades the same episodes in the market of every draw, and observes them as a desk does
(:mod:`hyperexec_env.envs.uncertainty`). With :math:`y_{dn}` the difference of two policies in draw d and episode n,

.. math:: y_{dn} = \mu + a_d + b_n + e_{dn}, \qquad
    \hat\sigma_a^2 = (\mathrm{MS}_a - \mathrm{MS}_e) / N,

the calibration gives the variance :math:`\sigma_a^2` of the expected difference: the unbiased estimate of a two-way layout with
random effects (Searle, Casella and McCulloch 1992, section 4.3), from which the noise of the episodes, which are the same in
every draw, drops out. By the law of total variance a difference on a board has the variance :math:`\sigma_a^2 + s^2`, with s
the standard error that its episodes leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.table import markdown_table, text_table
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.draws import build_draws
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import build_market

if TYPE_CHECKING:
    from hyperexec_env.evaluation.board import Board, Row

__all__ = ["DRAWS", "EPISODES", "CalibrationError", "CalibrationRow", "Effects", "calibration_error", "effects_of"]

Floats = NDArray[np.float64]

DRAWS: Final = 32
"""Largest number of draws in which a board is played."""
EPISODES: Final = 400
"""Largest number of episodes of each draw."""
_NORMAL: Final = 1.959964
"""97.5 % quantile of the normal law."""


class Effects(NamedTuple):
    """A difference over draws and episodes, bps."""

    mean: float
    calibration_sd: float
    """Standard deviation of the expected difference over the draws; 0 where its estimate is negative."""
    simulation_error: float
    """Standard error of the mean that the episodes leave."""
    low: float
    """Lower end of the 95 % interval of the expected difference, over draws and episodes."""
    high: float


def effects_of(differences: Floats) -> Effects:
    """Return the effects of a difference, shape (draws, episodes), at least two of each.

    The interval is that of the draws, with means shrunk to their estimated dispersion, widened by the error of the episodes.
    Its ends are the quantiles of Weibull (1939), between which a new draw lies with the stated probability.
    """
    draws, episodes = differences.shape
    mean, by_draw, by_episode = float(differences.mean()), differences.mean(axis=1), differences.mean(axis=0)
    residual = differences - by_draw[:, None] - by_episode + mean
    noise = float((residual**2).sum()) / ((draws - 1) * (episodes - 1))
    spread = float(by_draw.var(ddof=1))
    variance = max(spread - noise / episodes, 0.0)
    error = float(by_episode.std(ddof=1)) / math.sqrt(episodes)
    shrunk = (by_draw - mean) * math.sqrt(variance / spread) if spread > 0.0 else np.zeros(draws)
    below, above = (math.hypot(float(end), _NORMAL * error) for end in np.quantile(shrunk, (0.025, 0.975), method="weibull"))
    return Effects(mean, math.sqrt(variance), error, mean - below, mean + above)


@dataclass(frozen=True)
class CalibrationRow:
    """What calibration adds to the error of one policy's difference to TWAP, bps of the arrival notional."""

    policy: str
    diff_to_twap_bps: float
    """Mean difference over draws and episodes; `_low` and `_high` are the ends of its 95 % interval over both."""
    diff_to_twap_low: float
    diff_to_twap_high: float
    calibration_sd_bps: float
    """Standard deviation of the expected difference over the draws."""
    simulation_error_bps: float
    """Standard error of the difference on the board, with its number of episodes."""
    calibration_share: float
    """Part of the variance of the difference on the board that comes from calibration; 0 where both parts are 0."""
    regret_bps: float | None
    """Mean difference to the optimal policy of the point estimate, in the markets of the draws; None where it is unknown."""
    regret_low: float | None
    regret_high: float | None

    @property
    def verdict(self) -> str:
        """Whether the difference is larger than its error, in words."""
        if max(abs(self.diff_to_twap_low), abs(self.diff_to_twap_high)) < 1e-9:
            return "no difference"
        won = "win" if self.diff_to_twap_bps < 0.0 else "loss"
        beyond = self.diff_to_twap_high < 0.0 or self.diff_to_twap_low > 0.0
        return f"{won} {'larger' if beyond else 'not larger'} than the calibration error"


@dataclass(frozen=True)
class CalibrationError:
    """The rows of a board in the draws of a posterior."""

    rows: tuple[CalibrationRow, ...]
    draws: int
    """Number of draws."""
    of: int
    """Number of draws of the posterior."""
    episodes: int
    """Number of episodes of each draw."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        return {"draws": self.draws, "of": self.of, "episodes": self.episodes, "rows": rows}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table."""
        header = ["", "policy", "vs TWAP [95 %]", "calibration sd", "simulation se", "calibration %", "regret [95 %]"]
        header.append("difference")
        return header, [["", row.policy, *self._cells(row)] for row in self.rows]

    def _cells(self, row: CalibrationRow) -> list[str]:
        """Return the cells of a row after its name."""
        regret = "-" if row.regret_bps is None else f"{row.regret_bps:+.2f} [{row.regret_low:+.2f}, {row.regret_high:+.2f}]"
        return [
            f"{row.diff_to_twap_bps:+.2f} [{row.diff_to_twap_low:+.2f}, {row.diff_to_twap_high:+.2f}]",
            f"{row.calibration_sd_bps:.3f}",
            f"{row.simulation_error_bps:.3f}",
            f"{100.0 * row.calibration_share:.0f}",
            regret,
            row.verdict,
        ]

    @property
    def caption(self) -> str:
        """Caption of the table."""
        count = f"all {self.draws} draws" if self.draws == self.of else f"the first {self.draws} of {self.of} draws"
        return (
            f"Over the posterior: {count}, {self.episodes:,} episodes of each, the same in every draw and for every policy. "
            "Intervals cover draws and episodes; calibration %: part of the variance of the board's difference to TWAP that "
            "comes from calibration, the rest from its episodes; regret: to the optimal policy of the point estimate."
        )

    def renamed(self, escape: Callable[[str], str]) -> CalibrationError:
        """Return the rows with the names of their policies escaped."""
        return replace(self, rows=tuple(replace(row, policy=escape(row.policy)) for row in self.rows))

    def to_markdown(self) -> str:
        """Return the table in Markdown; names must be escaped."""
        return f"{markdown_table(*self.table())}\n\n{self.caption}"

    def __str__(self) -> str:
        """Return the table as text."""
        return f"{text_table(*self.table())}\n{self.caption}"

    @property
    def finding(self) -> str:
        """One line that names the differences to TWAP which are larger than the calibration error."""
        larger = [row for row in self.rows if "not" not in row.verdict and "no " not in row.verdict]
        named = ", ".join(f"{row.policy} ({row.diff_to_twap_bps:+.2f})" for row in larger) or "none"
        return f"differences to TWAP that are larger than the calibration error ({self.draws} draws of the posterior): {named}"


def calibration_error(
    board: Board,
    policies: Sequence[tuple[str, Policy, bool]],
    reference: Policy,
    *,
    progress: Callable[[int], None] = lambda done: None,
    policy_timeout: float = 0.0,
) -> CalibrationError:
    """Play the policies of a board in the draws of its scenario.

    Args:
        board: The board, of a scenario with a posterior.
        policies: Label of a row of the board, policy, and whether the regime is hidden from the policy.
        reference: TWAP.
        progress: Called with 1 after each draw.
        policy_timeout: Largest time of one call of a policy, seconds; 0: no limit.

    Raises:
        ValueError: The scenario has no posterior.
        PolicyFailure: A policy fails in a draw.
    """
    scenario, count = board.scenario, min(board.episodes, EPISODES)
    if isinstance(scenario, BasketScenario):
        raise ValueError(f"a basket has no posterior, got {scenario.name}")
    draws = build_draws(scenario)
    played = [("", reference, False), *policies]
    best = None if board.optimum is None else board.optimum.policy
    if best is not None:
        played.append(("optimum", best, False))
    point, keys = build_market(scenario), episode_keys(board.seed, np.arange(count), board=True)
    markets = draws.markets[:DRAWS]
    objectives = np.empty((len(played), len(markets), count))
    for number, market in enumerate(markets):
        path = draw_path(market, keys, float(scenario.side))
        for index, (_, policy, hidden) in enumerate(played):
            outcome = roll(market, policy, path, hidden, policy_timeout, point)
            objectives[index, number] = outcome.statement.objective
        progress(1)
    rows = {row.label: row for row in board.rows}
    own = objectives[1 : 1 + len(policies)]
    found = [
        _row(rows[label], values - objectives[0], None if best is None else values - objectives[-1])
        for (label, _, _), values in zip(policies, own, strict=True)
    ]
    order = sorted(found, key=lambda row: row.diff_to_twap_bps)
    return CalibrationError(tuple(order), len(markets), len(draws.markets), count)


def _row(row: Row, differences: Floats, regrets: Floats | None) -> CalibrationRow:
    """Return the row of a policy from its differences to TWAP and to the optimal policy, shape (draws, episodes)."""
    found, regret = effects_of(differences), None if regrets is None else effects_of(regrets)
    error = (row.diff_to_twap_high - row.diff_to_twap_low) / (2.0 * _NORMAL)
    total = found.calibration_sd**2 + error**2
    return CalibrationRow(
        policy=row.label,
        diff_to_twap_bps=found.mean,
        diff_to_twap_low=found.low,
        diff_to_twap_high=found.high,
        calibration_sd_bps=found.calibration_sd,
        simulation_error_bps=error,
        calibration_share=found.calibration_sd**2 / total if total > 0.0 else 0.0,
        regret_bps=None if regret is None else regret.mean,
        regret_low=None if regret is None else regret.low,
        regret_high=None if regret is None else regret.high,
    )
