"""optuna: tune a rule of two numbers on boards, and judge the best on another board.

pip install optuna
"""

from __future__ import annotations

import sys

import optuna

import hyperexec_env as hx

TUNING, RANKING = 1, 0
"""Seeds of the boards: what is tuned on one board is judged on another."""


class Careful:
    """Trade at TWAP's pace, slower while volatility is high."""

    name = "Careful"

    def __init__(self, slowed: float, threshold: float) -> None:
        """Set the fraction by which the pace is slowed, and the volatility above which it is, multiple of the usual."""
        self.slowed, self.threshold = slowed, threshold

    def act(self, situation):
        """Return the shares of this slice."""
        twap = situation.remaining / (situation.market.slices - situation.k)
        return twap * (1.0 - self.slowed * (situation.market.volatility[situation.seen] > self.threshold))


def objective(trial: optuna.Trial, episodes: int) -> float:
    """Return the mean objective of a trial, bps; all trials meet the same episodes."""
    policy = Careful(trial.suggest_float("slowed", 0.0, 1.0), trial.suggest_float("threshold", 0.5, 3.0))
    board = hx.evaluate("regime-day", policy, episodes=episodes, seed=TUNING, optimum=False)
    return next(row.objective_bps for row in board.rows if row.policy == policy.name)


def main(trials: int = 100, episodes: int = 2_000) -> hx.Board:
    """Tune, and judge the best rule against the baselines."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: objective(trial, episodes), n_trials=trials)
    return hx.evaluate("regime-day", ["baselines", Careful(**study.best_params)], episodes=episodes, seed=RANKING)


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
