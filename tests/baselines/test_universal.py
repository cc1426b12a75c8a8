"""One policy for many markets: the linearised optimum, the context, and the network that corrects it."""

import json
from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.distribution import MARKETS, MarketDistribution
from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver import solve
from hyperexec_env.baselines.solver.linear import solve_linear
from hyperexec_env.baselines.solver.linearised import linearised_gains
from hyperexec_env.baselines.universal import (
    CONTEXT,
    LEAST,
    UniversalPolicy,
    context_of,
    linearised_policy,
    load_trained,
    universal_names,
    universal_policy,
)
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.network import load_policy, policy_files, save_policy
from hyperexec_env.evaluation.rollout import paths_of, roll_on
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytest.importorskip("safetensors", reason="the policy is stored as safetensors (extra train)")
SMALL = MarketDistribution(slices=(8,), regimes=(1, 3))


def random_network(seed=0, hidden=8):
    """A policy with random weights."""
    rng = np.random.default_rng(seed)
    shapes = [(hidden, len(universal_names())), (1, hidden)]
    layers = tuple((rng.normal(0.0, 0.3, shape).astype(np.float32), np.zeros(shape[0], np.float32)) for shape in shapes)
    return UniversalPolicy("random network", layers, "tanh", "odds", "fraction", True, 0, {"scenario": {"name": "none"}})


def objective(scenario, policy, episodes=400, hidden=False):
    """Objective of each episode, bps."""
    market = build_market(scenario)
    return np.asarray(
        roll_on(market, policy, paths_of(market, episode_keys(0, np.arange(episodes))), hidden).statement.objective
    )


@pytest.mark.parametrize("number", range(4))
def test_where_impact_is_linear_the_linearised_optimum_is_the_optimum(number):
    scenario = replace(SMALL.draw(1, number), temp_impact_beta=1.0)
    market = build_market(scenario)
    assert linearised_gains(market)[:-1, :-1] == pytest.approx(solve_linear(market).gains, rel=1e-9, abs=1e-12)
    for policy in (linearised_policy(), random_network()):  # a network corrects nothing there
        gap = objective(scenario, policy).mean() / objective(scenario, solve(scenario).policy).mean() - 1.0
        assert abs(gap) < 2.0 * LEAST + 2e-3  # the table of the exact optimum has a grid, and keeps one side


@pytest.mark.parametrize("number", range(3))
def test_the_inputs_do_not_change_with_the_units(number):
    """A split of the shares, another currency and another size of the same market are the same problem."""
    scenario = SMALL.draw(2, number)
    other = replace(
        scenario,
        quantity=scenario.quantity * 40.0,
        adv=scenario.adv * 40.0,
        arrival_price=scenario.arrival_price / 8.0,
        risk_aversion=scenario.risk_aversion * 8.0 / 40.0,
    )
    assert context_of(build_market(other)) == pytest.approx(context_of(build_market(scenario)), abs=1e-5)
    policy = random_network()
    assert objective(other, policy) == pytest.approx(objective(scenario, policy), rel=1e-5)


def test_the_context_of_every_market_is_finite_and_has_a_number_for_each_name():
    for number in range(20):
        market = build_market(MARKETS.draw(3, number))
        context = context_of(market)
        assert context.shape == ((market.slices + 1) * (market.regimes + 1), len(CONTEXT))
        assert np.isfinite(context).all()
        assert np.abs(context).max() <= 10.0


@pytest.mark.parametrize("name", hx.scenario_names())
def test_the_policy_acts_in_every_scenario(name):
    scenario = get_scenario(name)
    for hidden in (False, True):
        assert np.isfinite(objective(scenario, random_network(), 3, hidden)).all()


def test_a_batch_is_its_episodes_one_by_one():
    policy = random_network()
    market = build_market(get_scenario("regime-day"))
    rng = np.random.default_rng(0)
    fields = {name: rng.random(3) for name in Situation._fields if name != "market"}
    fields |= {"k": np.array([0, 3, 25]), "seen": np.array([0, 4, 6]), "remaining": rng.random(3) * 200_000.0}
    fields |= {"quantity": np.full(3, 200_000.0), "last_volume": np.full(3, 1e5), "last_shares": np.zeros(3)}
    fields |= {"price": np.full(3, 100.0), "side": np.ones(3)}
    batch = policy.act(Situation(market=market, **fields))
    for at in range(3):
        one = policy.act(Situation(market=market, **{name: values[at].item() for name, values in fields.items()}))
        assert isinstance(one, float)
        assert one == batch[at]


def test_a_policy_returns_from_its_folder(tmp_path):
    policy = random_network()
    save_policy(policy, tmp_path)
    read = load_trained(tmp_path)
    assert type(read) is UniversalPolicy
    assert read.digest == policy.digest
    assert entrants(str(tmp_path))[0].policy.digest == policy.digest
    with pytest.raises(ValueError, match="head must be 'clip', 'tanh' or 'argmax', got 'odds'"):
        load_policy(tmp_path)
    about = json.loads(policy_files(tmp_path)[0].read_text())
    policy_files(tmp_path)[0].write_text(json.dumps({**about, "head": "tanh"}))
    with pytest.raises(ValueError, match="policy"):
        load_trained(tmp_path)


def test_the_shipped_policy_is_small_and_its_markets_are_named():
    policy = universal_policy()
    assert get_policy("universal") is policy
    assert policy.about["scenario_hash"] == MarketDistribution.from_dict(policy.about["scenario"]).hash == MARKETS.hash
    shipped = policy_files(hx.baselines.universal._SHIPPED)
    assert sum(path.stat().st_size for path in shipped) < 10**6


def test_the_shipped_policy_is_near_the_optimum_of_markets_that_it_never_saw():
    """The seed of the draws is none of the training's, which are at least 2^41."""
    gaps, uncorrected = [], []
    for number in range(12):
        scenario = MARKETS.draw(77, number, slices=10)
        optimal = objective(scenario, solve(scenario).policy)
        for found, name in ((gaps, "universal"), (uncorrected, "linearised")):
            found.append((objective(scenario, get_policy(name)) - optimal).mean() / optimal.mean())
    assert np.median(gaps) < 0.001
    assert max(gaps) < 0.01
    assert np.mean(gaps) < 0.5 * np.mean(uncorrected)  # the network earns its place
