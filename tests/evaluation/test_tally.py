"""Tally: group means of every column, and the dispersion over single episodes."""

import numpy as np
import pytest

from hyperexec_env.evaluation.rollout import Outcome
from hyperexec_env.evaluation.statistics import cvar
from hyperexec_env.evaluation.tally import Tally
from hyperexec_env.market.account import Components, Statement

pytestmark = pytest.mark.fast


def _outcome(episodes, seed=0):
    """An outcome whose columns all differ."""
    rng = np.random.default_rng(seed)
    components = Components(*rng.standard_normal((len(Components._fields), episodes)))
    totals = rng.standard_normal((len(Statement._fields) - 1, episodes))
    return Outcome(Statement(*totals, components), rng.random(episodes), np.arange(episodes), np.ones((2, 3)), "p")


def test_each_column_of_a_group_is_the_mean_of_its_episodes():
    outcome, tally = _outcome(5), Tally(group=2)
    tally.add(outcome, outcome)
    grouped = tally.joined()
    columns = outcome.statement._asdict() | outcome.statement.components._asdict()
    del columns["components"]
    for name, values in columns.items():
        source = grouped.statement.components if name in Components._fields else grouped.statement
        assert getattr(source, name) == pytest.approx([values[:2].mean(), values[2:4].mean(), values[4]]), name
    assert grouped.forced == pytest.approx([outcome.forced[:2].mean(), outcome.forced[2:4].mean(), outcome.forced[4]])
    assert grouped.start_regime.tolist() == [0, 2, 4]


@pytest.mark.parametrize("group", [1, 4])
def test_dispersion_is_over_episodes_not_over_groups(group):
    batches, tally = [_outcome(100, seed) for seed in range(3)], Tally(group)
    for batch in batches:
        tally.add(batch, batch._replace(statement=batch.statement._replace(objective=batch.statement.objective + 1.0)))
    dispersion = tally.dispersion()
    shortfall = np.concatenate([batch.statement.shortfall for batch in batches])
    assert dispersion.shortfall_sd == pytest.approx(shortfall.std(ddof=1))
    assert dispersion.shortfall_cvar == pytest.approx(cvar(shortfall))
    assert dispersion.win_rate == 1.0
