"""The predator: what it expects, what that costs, and that it is the same one in every way to run an episode."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.kernel import Impact, Slice, expected_cost, move
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.predator import GREATEST, LEAST, PredatorMemory, predator_position, step_with_predator, update_memory
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

NOTHING_SEEN = PredatorMemory(0.0, 0.0, 0.0, 0.0)
IMPACT = Impact(4e-6, 2e-6, 0.5)
SLICE = Slice(200_000.0, 0.0, float("inf"), 0.6, 0.01, 0.7, 0.0, 0.01, 1e-9)
children = st.lists(st.just(0.0) | st.floats(1.0, 1e5), min_size=1, max_size=30)


def hunted(strength, **changes):
    return build_market(replace(get_scenario("regime-day"), predator=strength, **changes))


def path_of(market, episodes=200, seed=5):
    return draw_path(market, episode_keys(seed, np.arange(episodes)), float(market.scenario.side))


def objective(market, policy):
    return roll(market, policy, path_of(market)).statement.objective


def trade(shares, strength):
    """Trade a list of children, one in each slice; return what was held ahead of each, the costs and the states."""
    state, memory = (sum(shares), 0.0, 0.0), NOTHING_SEEN
    held, costs, states = [], [], []
    for child in shares:
        held.append(predator_position(strength, memory, child))
        (state, cost), memory = step_with_predator(IMPACT, state, SLICE, child, memory, strength)
        costs.append(cost)
        states.append(state)
    return held, costs, states


class Fixed:
    """A policy that trades given fractions of the order."""

    name = "fixed"

    def __init__(self, fractions):
        self.fractions = fractions

    def act(self, situation):
        return situation.quantity * self.fractions[situation.k] + 0.0 * situation.remaining


# --- what it expects


def test_two_like_children_let_it_expect_a_third():
    assert trade([100.0] * 5, 0.5)[0] == [0.0, 0.0, 50.0, 50.0, 50.0]


def test_it_waits_for_the_next_child_as_long_as_it_waited_for_the_last():
    assert trade([100.0, 0.0, 0.0] * 3, 1.0)[0] == [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0]


def test_children_that_differ_by_half_are_not_alike():
    assert trade([100.0, 50.0, 50.0, 75.0, 75.0], 1.0)[0] == pytest.approx([0.0, 0.0, 0.0, 50.0, 75.0 / 3.0])


def test_liquidity_takes_a_part_of_what_comes_and_no_more():
    assert trade([100.0, 100.0, 10.0, 0.0], -0.5)[0] == [0.0, 0.0, -5.0, 0.0]


def test_liquidity_takes_no_more_than_the_last_child_made_it_expect():
    assert trade([100.0, 100.0, 150.0], -0.5)[0] == [0.0, 0.0, -50.0]


@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_dust_between_the_children_does_not_blind_it(strength):
    held = trade([100.0, 1e-9] * 4, strength)[0]
    assert held[::2] == trade([100.0, 0.0] * 4, strength)[0][::2] != [0.0] * 4
    assert trade([100.0, 0.0, 1.0] * 3, 1.0)[0][6] == 100.0
    assert trade([100.0, 0.0, 2.0] * 3, 1.0)[0][6] == 0.0  # that is a child


@pytest.mark.parametrize("limit", [float("inf"), 100.0])
def test_it_remembers_what_traded_not_what_was_asked_for(limit):
    left = 100.0 if limit == float("inf") else 500.0
    (after, _), memory = step_with_predator(IMPACT, (left, 0.0, 0.0), SLICE._replace(limit=limit), 300.0, NOTHING_SEEN, 1.0)
    assert after[0] == left - 100.0
    assert memory == PredatorMemory(100.0, 1.0, 0.0, 0.0)


def test_it_holds_its_position_for_fifteen_hundredths_of_a_period_around_the_expected_time():
    memory = PredatorMemory(100.0, 0.0, 100.0, 1.0)
    held = [since for since in range(200) if predator_position(1.0, memory._replace(since=float(since)), 100.0)]
    assert held == list(range(85, 116))


def test_it_expects_the_next_child_later_by_half_of_a_delay_and_the_period_longer_by_a_quarter():
    assert update_memory(PredatorMemory(100.0, 24.0, 20.0, 1.0), 100.0) == PredatorMemory(100.0, 3.0, 21.0, 1.0)
    assert update_memory(PredatorMemory(100.0, 16.0, 20.0, 1.0), 100.0) == PredatorMemory(100.0, -1.0, 19.0, 1.0)
    lost = PredatorMemory(100.0, 31.0, 20.0, 1.0)
    assert update_memory(lost, 100.0) == PredatorMemory(100.0, 1.0, 31.0, 1.0)


def test_on_a_fine_grid_it_holds_its_position_around_the_expected_time():
    late = [100.0, *[0.0] * 19] * 3 + [0.0] * 2 + [100.0]
    early = [100.0, *[0.0] * 19] * 2 + [100.0, *[0.0] * 17] + [100.0]
    missed = [100.0, *[0.0] * 19] * 3 + [0.0] * 6 + [100.0]
    assert trade(late, 1.0)[0][-1] == trade(early, 1.0)[0][-1] == 100.0
    assert trade(missed, 1.0)[0][-1] == 0.0


def test_it_follows_a_schedule_that_jitters_around_a_regular_one():
    rng = np.random.default_rng(0)
    for jitter, least_hits, most_hits in ((0.0, 198, 198), (2.0, 150, 198), (6.0, 40, 120)):
        times = (20 * np.arange(200) + 10 + rng.uniform(-jitter, jitter, 200)).astype(int)
        shares = np.zeros(4000)
        shares[times] = 100.0
        held = np.array(trade(shares.tolist(), 1.0)[0])
        assert least_hits <= (held[times] > 0.0).sum() <= most_hits, jitter


@given(children, st.floats(LEAST, GREATEST))
def test_floats_and_arrays_agree_to_the_last_bit(shares, strength):
    held, costs, states = trade(shares, strength)
    slice = Slice(*(np.full(2, value) for value in SLICE))
    state, memory = (np.full(2, sum(shares)), np.zeros(2), np.zeros(2)), PredatorMemory(*np.zeros((4, 2)))
    for k, child in enumerate(shares):
        assert np.array_equal(predator_position(strength, memory, np.full(2, child)), np.full(2, held[k]))
        (state, cost), memory = step_with_predator(IMPACT, state, slice, np.full(2, child), memory, strength)
        assert np.array_equal(np.array(cost), np.array([costs[k]] * 2).T)
        assert np.array_equal(np.array(state), np.array([states[k]] * 2).T)


# --- what it costs


@given(children, st.floats(LEAST, GREATEST))
def test_it_costs_the_shares_times_kyles_slope_times_what_it_holds_and_leaves_nothing_behind(shares, strength):
    held, costs, states = trade(shares, strength)
    state = (sum(shares), 0.0, 0.0)
    for k, child in enumerate(shares):
        traded = min(child, state[0])
        state, cost = move(IMPACT, state, SLICE, child)
        extra = (IMPACT.permanent_slope + IMPACT.transient_slope) * traded * held[k]
        assert states[k] == state
        assert costs[k][1] - cost[1] == pytest.approx(extra, rel=1e-9, abs=1e-9)
        assert (costs[k][0], *costs[k][2:]) == (cost[0], *cost[2:])


@given(children, st.floats(LEAST, GREATEST))
def test_no_child_is_paid_for_trading_and_none_costs_nothing(shares, strength):
    for child, cost in zip(shares, trade(shares, strength)[1], strict=True):
        assert cost[0] + cost[1] >= -1e-9 * child
        if child == 0.0:
            assert cost[:4] == (0.0, 0.0, 0.0, 0.0)


def test_a_regular_schedule_costs_the_closed_form_and_more_the_stronger_the_predator():
    free = hunted(0.0)
    twap, scenario = get_policy("TWAP"), free.scenario
    child = scenario.quantity / scenario.slices
    slope = scenario.kyle_lambda * scenario.arrival_price / scenario.adv
    before = objective(free, twap)
    for strength in (-0.5, -0.2, 0.1, 0.3, 1.0, 2.0):
        extra = objective(hunted(strength), twap) - before
        expected = 1e4 * slope * strength * child**2 * (scenario.slices - 2) / scenario.notional
        assert extra == pytest.approx(expected, rel=1e-9)


def test_an_irregular_schedule_is_hit_less():
    fractions = np.where(np.arange(26) % 2, 0.5, 1.5) / 26
    regular, irregular = Fixed(np.full(26, 1 / 26)), Fixed(fractions)
    extra = [(objective(hunted(0.5), policy) - objective(hunted(0.0), policy)).mean() for policy in (regular, irregular)]
    assert extra[1] == pytest.approx(0.0, abs=1e-12)
    assert extra[0] > 1.0


def test_liquidity_makes_a_regular_schedule_cheaper_and_never_pays_for_it():
    assert (objective(hunted(-0.5), get_policy("TWAP")) < objective(hunted(0.0), get_policy("TWAP"))).all()
    bare = {"half_spread_bps": 0.0, "temp_impact_alpha": 0.0, "risk_aversion": 0.0, "resilience": 1e6}
    market = hunted(-0.5, **bare)
    for name in ("TWAP", "random", "every-5th", "Adaptive"):
        statement = roll(market, get_policy(name), path_of(market)).statement
        assert (statement.components.transient + statement.components.permanent >= -1e-9).all()


def test_without_a_predator_nothing_changes():
    market, path = hunted(0.0), path_of(hunted(0.0))
    assert not market.numbers.spec.hunted
    assert np.array_equal(
        objective(market, get_policy("IS")), roll(build_market(get_scenario("regime-day")), get_policy("IS"), path)[0].objective
    )
    shares = [100.0, 100.0, 50.0, 100.0, 0.0, 100.0]
    _, costs, _ = trade(shares, 0.0)
    state = (sum(shares), 0.0, 0.0)
    for child, paid in zip(shares, costs, strict=True):
        state, cost = move(IMPACT, state, SLICE, child)
        assert paid == cost


def test_liquidity_would_pay_for_a_round_trip_that_an_order_of_one_side_cannot_make():
    """What the docstring says: like children in and out earn where their spread and temporary impact are less than the gift."""

    def round_trip(strength, spread):
        legs = 0.0
        for displaced, slope in ((0.0, 6e-6), (26 * 7_692.0 * 6e-6, -6e-6)):  # selling moves back what buying moved
            slice = Slice(200_000.0, 0.0, float("inf"), 0.0, spread, 1.0, 0.0, 0.0, 0.0)
            state, memory = (26 * 7_692.0, displaced if slope > 0.0 else -displaced, 0.0), NOTHING_SEEN
            impact = Impact(abs(slope), 0.0, 0.5)
            for _ in range(26):
                (state, cost), memory = step_with_predator(impact, state, slice, 7_692.0, memory, strength)
                legs += sum(cost[:4])
        return legs

    assert round_trip(0.0, 0.0) == pytest.approx(0.0, abs=1e-6)
    assert round_trip(-0.3, 0.0) == pytest.approx(-5_112.0, abs=1.0)
    assert round_trip(-0.3, 0.001) < -4_700.0  # a tenth of a basis point does not change that
    assert round_trip(-0.3, 0.02) > 0.0
    assert round_trip(0.3, 0.0) > 0.0


# --- one predator, three ways to run an episode


@pytest.mark.parametrize(
    ("name", "strength"), [("TWAP", 0.3), ("random", -0.5), ("Adaptive", 0.3), ("every-5th", -0.5), ("wait-then-dump", 0.3)]
)
def test_the_environments_and_the_rollout_agree_to_the_last_bit(name, strength):
    market = hunted(strength)
    outcome = roll(market, get_policy(name), path_of(market, episodes=4, seed=11)).statement
    env, policy = HyperExecEnv(market.scenario), get_policy(name)
    for episode in range(4):
        env.reset(seed=11 if episode == 0 else None)
        rewards, ended = 0.0, False
        while not ended:
            _, reward, ended, _, info = env.trade(float(policy.act(env.situation)))
            rewards += reward
        assert info["objective_bps"] == outcome.objective[episode]
        assert rewards == pytest.approx(-info["objective_bps"], abs=1e-9)
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], abs=1e-9)
        assert info["components_bps"]["transient"] == outcome.components.transient[episode]


@pytest.mark.parametrize(
    ("autoreset", "options"),
    [
        ("NextStep", {}),
        ("SameStep", {"random_side": True, "quantity_range": (0.5, 2.0)}),
        ("Disabled", {"reward": "realised"}),
    ],
)
def test_a_lane_forgets_the_last_order_when_the_next_one_begins(autoreset, options):
    scenario = replace(get_scenario("hunted-day"), slices=4)
    lanes = HyperExecVectorEnv(3, autoreset, backend="numpy", scenario=scenario, **options)
    singles = [HyperExecEnv(scenario, **options) for _ in range(3)]
    lanes.reset(seed=7)
    for lane, env in enumerate(singles):
        env.reset(seed=7 + lane)
    rng, waiting = np.random.default_rng(1), np.zeros(3, bool)
    for _ in range(30):
        shares = rng.choice([20_000.0, 22_000.0, 90_000.0], 3)
        _, rewards, ended, _, _ = lanes.trade(shares)
        for lane, env in enumerate(singles):
            if waiting[lane] and autoreset == "NextStep":
                env.reset()
                assert rewards[lane] == 0.0
                continue
            _, reward, over, _, _ = env.trade(float(shares[lane]))
            assert reward == rewards[lane]
            assert over == ended[lane]
            if over and autoreset != "NextStep":
                env.reset()
        if autoreset == "Disabled" and ended.any():
            lanes.reset(options={"reset_mask": ended.copy()})
        waiting = ended


def test_what_it_remembers_does_not_reach_the_observation():
    free, watched = HyperExecEnv("regime-day"), HyperExecEnv("hunted-day")
    seen = [free.reset(seed=3)[0], watched.reset(seed=3)[0]]
    for _ in range(10):
        assert np.array_equal(*seen)
        seen = [env.step(np.zeros(1, np.float32))[0] for env in (free, watched)]


def test_costs_of_a_hunted_order_are_those_that_the_kernel_books():
    env = HyperExecEnv("hunted-day")
    env.reset(seed=0)
    total, memory = 0.0, NOTHING_SEEN
    while True:
        _, reward, ended, _, _ = env.trade(200_000.0 / 26)
        total += reward
        if ended:
            break
    state = (200_000.0, 0.0, 0.0)
    path = path_of(build_market(get_scenario("hunted-day")), episodes=1, seed=0)
    spent = 0.0
    for k in range(26):
        row = [float(values[k, 0]) for values in path.slices]
        (state, cost), memory = step_with_predator(env.unwrapped.task.market.impact, state, row, 200_000.0 / 26, memory, 0.3)
        spent += expected_cost(cost)
    assert -total == pytest.approx(1e4 * spent / 2e7, rel=1e-12)


def test_watching_forgets_nothing_while_no_child_comes():
    memory = update_memory(update_memory(update_memory(NOTHING_SEEN, 100.0), 100.0), 0.0)
    assert (memory.size, memory.period, memory.likeness) == (100.0, 1.0, 1.0)
    assert memory.since == 2.0
