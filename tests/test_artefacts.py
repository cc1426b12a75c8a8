"""The known artefacts of simulated execution. Each has a check, which passes on the package and fails on a broken copy of it.

A broken copy is a class with the fault built in, or the package with one of its functions replaced.
"""

import importlib
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import check_evaluation, entrants
from hyperexec_env.baselines.policies import SANITY, Adaptive, get_policy, policy_names
from hyperexec_env.envs.features import build_observer, observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.store import Store
from hyperexec_env.market import kernel, noise, path
from hyperexec_env.market.account import settle_in_bps
from hyperexec_env.market.lane import Lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import leaves, map_leaves

DAY = get_scenario("regime-day")
OTHER = np.uint64(0xA5A5A5A5A5A5A5A5)
"""Turns the key of an episode into another key."""
SEEDS = range(11, 51)
LARGEST_SEED_OF_A_BOARD = 2**32 - 1


@pytest.fixture(autouse=True)
def without_compiled_loops(monkeypatch):
    """What is broken on purpose here are functions of Python; that compiled loops do the same is tested where they are."""
    for module in ("hyperexec_env.envs.program_vector", "hyperexec_env.evaluation.rollout"):
        monkeypatch.setattr(f"{module}.resolve_backend", lambda name: "numpy")


@contextmanager
def in_place_of(genuine, broken):
    """A broken copy of the package: whoever uses a function, or a form of it for single numbers, uses another one instead."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "hyperexec_env":
                for key in [key for key, value in vars(module).items() if getattr(value, "__code__", None) is genuine.__code__]:
                    patch.setattr(module, key, broken)
        yield


def another_nature(changes):
    """Nature draws another word where `changes(field, slice)` says so; a regime draw decides the regime of the next slice."""
    genuine = path.draw_words

    def draw_words(key, k):
        fields = iter(name.partition(".")[0] for name, _ in leaves(path.Words))

        def changed(drawn, other):
            return np.where(changes(next(fields), np.asarray(k)), other, drawn)

        return map_leaves(changed, genuine(key, k), genuine(key ^ OTHER, k))

    return in_place_of(genuine, draw_words)


def another_future(k):
    """Another price and volume from slice `k` on, and another regime in the slices after it."""
    return another_nature(lambda field, slice: slice >= k)


def another_regime(k):
    """Another regime in slice `k`; what comes after follows from it."""
    if k:
        return another_nature(lambda field, slice: (slice == k - 1) & (field == "regime_draw"))
    genuine = path.begin_world

    def begin_world(numbers, start, key):
        return genuine(numbers, start, key)._replace(regime=genuine(numbers, start, key ^ OTHER).regime)

    return in_place_of(genuine, begin_world)


def paths(scenario, seeds=SEEDS):
    """The first episode of each seed."""
    return draw_path(build_market(scenario), episode_keys(list(seeds), np.zeros(len(seeds), dtype=int)), float(scenario.side))


def require(condition, text):
    """Refuse a test that would show nothing; not by an AssertionError, which a check raises for a fault."""
    if not condition:
        raise ValueError(text)


def facts(situation):
    """What a situation says by name, without the market."""
    return {key: value for key, value in situation._asdict().items() if key != "market"}


def same(some, others):
    return all(np.array_equal(some[key], others[key]) for key in some | others)


def all_same(some, others):
    return all(same(*moment) for moment in zip(some, others, strict=True))


class Recorder:
    """A policy that writes down the situations that it is shown, and then does what another one does."""

    def __init__(self, policy):
        self.policy, self.name, self.shown = policy, policy.name, []

    def act(self, situation):
        self.shown.append(facts(situation))
        return self.policy.act(situation)


class Plan:
    """Fixed shares in each slice."""

    name = "plan"

    def __init__(self, shares):
        self.shares = [float(value) for value in shares]

    def act(self, situation):
        return self.shares[situation.k]


# --- 1 and 2: the future, and a regime that is not told, are not shown


def single(scenario, **options):
    return HyperExecEnv(scenario, **options)


def lanes(scenario, **options):
    return HyperExecVectorEnv(len(SEEDS), "Disabled", scenario=scenario, **options)


def watch(env, seed):
    """What is shown before each slice and at the end: the observation, and the situation."""
    observation, _ = env.reset(seed=seed)
    shown = [{"observation": observation, **facts(env.situation)}]
    for action in np.random.default_rng(1).uniform(-1.0, 0.2, env.task.market.slices):  # something is left until the end
        observation, *_ = env.step(np.full(env.action_space.shape, action, dtype=np.float32))
        shown.append({"observation": observation, **facts(env.situation)})
    return shown


def watch_all(env):
    """The same of all seeds: of each lane, or one after the other."""
    if isinstance(env.unwrapped, HyperExecVectorEnv):
        return watch(env, list(SEEDS))
    tapes = [watch(env, seed) for seed in SEEDS]
    return [{key: [shown[key] for shown in moment] for key in moment[0]} for moment in zip(*tapes, strict=True)]


class Teller:
    """An environment that tells in a feature what `fact(path, market)` says of each slice, shape (N, episodes)."""

    def __init__(self, env, feature, fact):
        self.env, self.column, self.fact = env, observation_names().index(feature), fact

    def __getattr__(self, name):
        return getattr(self.env, name)

    def reset(self, seed):
        market = self.env.task.market
        self.k, self.facts = 0, self.fact(paths(market.scenario, np.atleast_1d(seed)), market)
        observation, info = self.env.reset(seed=seed)
        return self.told(observation), info

    def step(self, action):
        self.k += 1
        observation, *rest = self.env.step(action)
        return self.told(observation), *rest

    def told(self, observation):
        observation = observation.copy()
        np.atleast_2d(observation)[:, self.column] = self.facts[min(self.k, len(self.facts) - 1)]
        return observation


def check_the_future_is_not_shown(make):
    """Whatever nature draws from slice k on, all that is shown up to the start of slice k stays; what comes later changes."""
    shown = watch_all(make(DAY))
    for k in (0, 1, DAY.slices // 2, DAY.slices - 1):
        with another_future(k):
            others = watch_all(make(DAY))
        assert all_same(shown[: k + 1], others[: k + 1])
        assert not same(shown[k + 1], others[k + 1])


@pytest.mark.parametrize("observe_regime", [True, False])
@pytest.mark.parametrize("make", [single, lanes])
def test_no_observation_holds_the_future(make, observe_regime):
    check_the_future_is_not_shown(lambda scenario: make(scenario, observe_regime=observe_regime))


@pytest.mark.parametrize("make", [single, lanes])
@pytest.mark.parametrize(
    ("feature", "fact"),
    [
        ("last_volume", lambda path, market: path.slices.volume / market.mean_volume[:-1, -1:]),
        ("price_move", lambda path, market: path.world.price[1:] / path.world.price[:-1] - 1.0),
    ],
)
def test_the_next_volume_or_price_in_an_observation_is_found(make, feature, fact):
    with pytest.raises(AssertionError):
        check_the_future_is_not_shown(lambda scenario: Teller(make(scenario), feature, fact))


def check_a_rollout_does_not_show_the_future(roll):
    def shown():
        recorder = Recorder(get_policy("IS"))
        roll(build_market(DAY), recorder, paths(DAY))
        return recorder.shown

    plain = shown()
    for k in (0, 1, DAY.slices // 2, DAY.slices - 2):
        with another_future(k):
            others = shown()
        assert all_same(plain[: k + 1], others[: k + 1])
        assert not same(plain[k + 1], others[k + 1])


@pytest.mark.parametrize("hidden", [True, False])
def test_no_rollout_shows_the_future(hidden):
    check_a_rollout_does_not_show_the_future(lambda market, policy, path: roll(market, policy, path, hidden))


@pytest.mark.parametrize("field", ["flow", "price"])
def test_a_rollout_that_is_one_slice_ahead_is_found(field):
    def one_ahead(market, policy, path):
        ahead = np.roll(getattr(path.world, field), -1, axis=0)
        return roll(market, policy, path._replace(world=path.world._replace(**{field: ahead})))

    with pytest.raises(AssertionError):
        check_a_rollout_does_not_show_the_future(one_ahead)


def twins(multiplier):
    """Two markets that differ only in what no market shows."""
    names, ones, still = ("BULL_TRENDING", "CRISIS"), (1.0, 1.0), ((0.0, 0.0), (0.0, 0.0))
    regimes = Regimes(names=names, volatility=ones, volume=ones, rates=still, **{multiplier: (1.0, 5.0)})
    return [Scenario(name="twin", half_spread_bps=3.0, regimes=replace(regimes, start=start)) for start in names]


def check_a_hidden_regime_is_not_shown(show):
    """`show` returns what is shown at each moment, given a scenario. Another regime in slice k shows nothing in slice k; and
    one that moves neither price nor volume never shows.
    """
    shown, regime = show(DAY), paths(DAY).world.regime
    for k in (0, 1, DAY.slices // 2):
        with another_regime(k):
            others, other = show(DAY), paths(DAY).world.regime
        require(np.array_equal(regime[:k], other[:k]) and (regime[k] != other[k]).any(), "the paths have to differ in slice k")
        assert all_same(shown[: k + 1], others[: k + 1])
    for multiplier in ("resilience", "temporary", "spread"):
        assert all_same(*map(show, twins(multiplier)))


@pytest.mark.parametrize("make", [single, lanes])
def test_no_observation_holds_a_regime_that_is_hidden(make):
    check_a_hidden_regime_is_not_shown(lambda scenario: watch_all(make(scenario, observe_regime=False)))
    with pytest.raises(AssertionError):
        check_a_hidden_regime_is_not_shown(lambda scenario: watch_all(make(scenario)))


@pytest.mark.parametrize("make", [single, lanes])
def test_a_volatility_that_tells_the_hidden_regime_is_found(make):
    def tells(scenario):
        hidden = make(scenario, observe_regime=False)
        return Teller(hidden, "volatility", lambda path, market: market.volatility.take(path.world.regime))

    with pytest.raises(AssertionError):
        check_a_hidden_regime_is_not_shown(lambda scenario: watch_all(tells(scenario)))


class TellsTheDisplacement(HyperExecEnv):
    """Hides the regime and shows the displacement, whose decay tells it: in the observation."""

    def __init__(self, scenario):
        super().__init__(scenario, observe_regime=False)
        told = build_observer(self.task.market, observe_regime=True)
        observer = self.task.observer
        sight = observer.sight._replace(scales=told.sight.scales)
        self.task = replace(self.task, observer=replace(observer, sight=sight))


class TellsTheDisplacementAside(HyperExecEnv):
    """The same in the situation."""

    def __init__(self, scenario):
        super().__init__(scenario, observe_regime=False)

    @property
    def situation(self):
        return super().situation._replace(transient=self._running.state.transient)


class TellsTheDisplacementInLanes(HyperExecVectorEnv):
    """The same in the situation of the vector environment."""

    def __init__(self, scenario):
        super().__init__(len(SEEDS), "Disabled", scenario=scenario, observe_regime=False)

    @property
    def situation(self):
        return super().situation._replace(transient=self._lanes.record(Lane).state.transient)


@pytest.mark.parametrize("make", [TellsTheDisplacement, TellsTheDisplacementAside, TellsTheDisplacementInLanes])
def test_a_displacement_that_tells_the_hidden_regime_is_found(make):
    with pytest.raises(AssertionError):
        check_a_hidden_regime_is_not_shown(lambda scenario: watch_all(make(scenario)))


def shown_in(roll):
    """What a rollout shows to a policy that is not told the regime."""

    def show(scenario):
        recorder = Recorder(get_policy("IS"))
        roll(build_market(scenario), recorder, paths(scenario), hidden=True)
        return recorder.shown

    return show


class Blindfolded:
    """A policy that cannot see the regime itself, but all that follows from it."""

    def __init__(self, policy):
        self.policy, self.name = policy, policy.name

    def act(self, situation):
        return self.policy.act(situation._replace(seen=np.full_like(situation.seen, situation.market.unknown)))


def test_a_rollout_shows_no_regime_to_who_is_not_told():
    check_a_hidden_regime_is_not_shown(shown_in(roll))


@pytest.mark.parametrize("wrap", [lambda policy: policy, Blindfolded])
def test_a_rollout_that_forgets_to_hide_the_regime_is_found(wrap):
    def forgetful(market, policy, path, hidden):
        return roll(market, wrap(policy), path, hidden=False)

    with pytest.raises(AssertionError):
        check_a_hidden_regime_is_not_shown(shown_in(forgetful))


# --- 3: every episode opens at the arrival price

FIRST_SEED, EPISODES = 5, 4


def trade_evenly(env, observation):
    """Trade to the end; return how the episode opened and what it cost, and what is observed then."""
    opened, slices, ended = (observation, env.situation.price), env.task.market.slices, False
    while not np.any(ended):
        observation, _, ended, _, info = env.trade(env.situation.remaining / (slices - env.situation.k))
    info = info.get("final_info", info)
    return (*opened, info["shortfall_bps"], info["objective_bps"]), observation


def one_after_the_other(env):
    for episode in range(EPISODES):
        yield trade_evenly(env, env.reset(seed=None if episode else FIRST_SEED)[0])[0]


def lanes_one_after_the_other(env):
    observation, _ = env.reset(seed=FIRST_SEED)
    for _ in range(EPISODES):
        episode, observation = trade_evenly(env, observation)
        yield episode
        if env.autoreset_mode.value == "Disabled":
            observation, _ = env.reset(options={"reset_mask": np.ones(env.num_envs, dtype=bool)})
        elif env.autoreset_mode.value == "NextStep":
            observation, *_ = env.trade(np.zeros(env.num_envs))


def check_episodes_are_what_they_are_alone(scenario, episodes):
    """An episode opens at the arrival price and costs what it costs alone, whatever came before it."""
    for episode, (observation, *numbers) in enumerate(episodes):
        by_lane = zip(np.atleast_2d(observation), *map(np.atleast_1d, numbers), strict=True)
        for lane, (seen, price, *costs) in enumerate(by_lane):
            env = HyperExecEnv(scenario)
            alone, _ = trade_evenly(env, env.reset(seed=FIRST_SEED + lane, options={"episode": episode})[0])
            assert price == scenario.arrival_price
            assert np.array_equal(seen, alone[0])
            assert costs == list(alone[2:])
    require(episode == EPISODES - 1, "some episodes were not played")


priced = pytest.mark.parametrize("scenario", [DAY, get_scenario("gatheral-schied")], ids=lambda scenario: scenario.name)
autoreset = pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])


@priced
def test_an_episode_opens_at_the_arrival_price(scenario):
    check_episodes_are_what_they_are_alone(scenario, one_after_the_other(HyperExecEnv(scenario)))


@autoreset
@priced
def test_an_episode_of_a_lane_opens_at_the_arrival_price(scenario, mode):
    check_episodes_are_what_they_are_alone(scenario, lanes_one_after_the_other(HyperExecVectorEnv(3, mode, scenario=scenario)))


class KeepsTheFirstArrival(HyperExecEnv):
    """The market goes on where it was when the last episode ended, and costs are measured from the first arrival price."""

    gap = 0.0

    def reset(self, **options):
        if self._running is not None:
            self.gap += self._running.situation().price - self.task.scenario.arrival_price
        return super().reset(**options)

    def trade(self, shares):
        *rest, info = super().trade(shares)
        if info:
            info["shortfall_bps"] += 1e4 * info["side"] * self.gap / self.task.scenario.arrival_price
        return *rest, info


class KeepsThePrice(HyperExecVectorEnv):
    """A lane that begins anew keeps the price of the episode before."""

    _moved = False

    def _run(self, *given):
        return self._keeping(super()._run, *given)

    def _observe(self, *given):
        return self._keeping(super()._observe, *given)

    def _keeping(self, method, *given):
        before = self._lanes.record(Lane).world.price if self._moved else None
        returned, self._moved = method(*given), True
        lane = self._lanes.record(Lane)
        if before is not None:
            world = lane.world._replace(price=np.where(lane.k == 0, before, lane.world.price))
            self._lanes.put(Lane, lane._replace(world=world))
        return returned


@priced
def test_a_stale_arrival_price_is_found(scenario):
    with pytest.raises(AssertionError):
        check_episodes_are_what_they_are_alone(scenario, one_after_the_other(KeepsTheFirstArrival(scenario)))


@autoreset
@priced
def test_a_stale_arrival_price_in_a_lane_is_found(scenario, mode):
    with pytest.raises(AssertionError):
        check_episodes_are_what_they_are_alone(scenario, lanes_one_after_the_other(KeepsThePrice(3, mode, scenario=scenario)))


# --- 4: a policy remembers nothing of another episode


def check_a_policy_forgets(make):
    """One policy trades the same episodes twice, in batches, and one after the other, as a fresh one does at once."""
    market, episodes, batch = build_market(DAY), 40, 16
    keys, side = episode_keys(7, np.arange(episodes)), float(DAY.side)
    fresh, policy = roll(market, make(), draw_path(market, keys, side)).statement.objective, make()
    for _ in range(2):
        assert np.array_equal(roll(market, policy, draw_path(market, keys, side)).statement.objective, fresh)
    for first in range(0, episodes, batch):
        part = slice(first, first + batch)
        assert np.array_equal(roll(market, policy, draw_path(market, keys[part], side)).statement.objective, fresh[part])
    env = HyperExecEnv(DAY)
    env.reset(seed=7, options={"episode": 99})
    given_up = False
    while not given_up and env.situation.k < DAY.slices // 2:
        given_up = env.trade(float(policy.act(env.situation)))[2]
    for episode in range(4):
        env.reset(seed=7, options={"episode": episode})
        ended = False
        while not ended:
            _, _, ended, _, info = env.trade(float(policy.act(env.situation)))
        assert info["objective_bps"] == pytest.approx(fresh[episode], rel=1e-12)


@pytest.mark.parametrize("name", policy_names())
def test_a_policy_remembers_nothing_of_another_episode(name):
    check_a_policy_forgets(lambda: get_policy(name))


class UnforgettingPov:
    """A percentage of the volume of all episodes so far."""

    name = "POV"

    def __init__(self):
        self.target = np.empty(0)

    def act(self, situation):
        market, shape = situation.market, np.shape(situation.remaining)
        if self.target.shape != shape:
            self.target = np.zeros(shape)
        rate = situation.quantity / market.rest_volume[0, market.unknown]
        self.target = self.target + rate * market.mean_volume[situation.k, situation.seen]
        return np.maximum(self.target - (situation.quantity - situation.remaining), 0.0)


class UnforgettingAdaptive(Adaptive):
    """Adaptive that does not see an episode begin: it is told that the first slice has just begun."""

    def act(self, situation):
        return super().act(situation._replace(k=max(situation.k, 1e-9)))


@pytest.mark.parametrize("make", [UnforgettingPov, UnforgettingAdaptive])
def test_a_policy_that_is_not_reset_is_found(make):
    with pytest.raises(AssertionError):
        check_a_policy_forgets(make)


# --- 5, 6 and 9: what a schedule costs


def by_rollout(scenario, shares):
    """Trade fixed shares in the first episode of each seed; return the account of each, bps."""
    statement = roll(build_market(scenario), Plan(shares), paths(scenario)).statement
    return account(statement.shortfall, statement.objective, statement.objective, statement.components._asdict())


def by_environment(scenario, shares, make=HyperExecEnv):
    found = []
    for seed in SEEDS:
        env, paid, ended, left = make(scenario), 0.0, False, iter(shares)
        env.reset(seed=seed)
        while not ended:
            _, reward, ended, _, info = env.trade(next(left))
            paid -= reward
        found.append((info["shortfall_bps"], info["objective_bps"], paid, info["components_bps"]))
    shortfall, objective, paid, components = zip(*found, strict=True)
    return account(shortfall, objective, paid, {key: [part[key] for part in components] for key in components[0]})


def by_lanes(scenario, shares):
    env, paid, ended, left = lanes(scenario), 0.0, np.False_, iter(shares)
    env.reset(seed=list(SEEDS))
    while not ended.any():
        _, reward, ended, _, info = env.trade(np.full(env.num_envs, next(left)))
        paid = paid - reward
    require(ended.all(), "a fixed schedule ends in all lanes at once")
    components = {key: value for key, value in info["components_bps"].items() if not key.startswith("_")}
    return account(info["shortfall_bps"], info["objective_bps"], paid, components)


def account(shortfall, objective, paid, components):
    values = {"shortfall": shortfall, "objective": objective, "paid": paid, **components}
    return {key: np.array(value) for key, value in values.items()}


by_every_simulator = pytest.mark.parametrize("simulate", [by_rollout, by_environment, by_lanes])
BARE = Scenario(
    name="bare", half_spread_bps=0.0, temp_impact_alpha=0.0, volume_noise=0.0, risk_aversion=0.0, resilience=0.0, slices=4
)


def check_no_outcome_is_cut(simulate):
    """A block costs in proportion to its size, and who waits pays the whole move of the price, however extreme they are.

    All at once, half of the own move is paid: 1e4 lambda_K X / (2 P0) bps (Obizhaeva and Wang 2013).
    """
    for size in (1.0, 1e3, 1e6):
        scenario = replace(BARE, quantity=size * BARE.quantity)
        found = simulate(scenario, [scenario.quantity, 0.0, 0.0, 0.0])
        move = 1e4 * scenario.quantity / scenario.adv / 2.0
        assert found["shortfall"] == pytest.approx(scenario.kyle_lambda * move, rel=1e-12)
        transient = (scenario.kyle_lambda - scenario.perm_impact_gamma) * move
        assert found["objective"] == pytest.approx(transient, rel=1e-12)
        assert found["paid"] == pytest.approx(transient, rel=1e-12)
    for side in (1, -1):
        scenario = replace(BARE, side=side, volatility=10.0, flow_share=0.0, kyle_lambda=0.0, perm_impact_gamma=0.0)
        price = paths(scenario).world.price
        moves = 1e4 * side * (price[-2] / scenario.arrival_price - 1.0)
        require(moves.min() < -1e4 and moves.max() > 1e4, "the prices have to be extreme on both sides")
        assert simulate(scenario, [0.0, 0.0, 0.0, 1.0])["shortfall"] == pytest.approx(moves, rel=1e-9)


extreme = pytest.mark.filterwarnings("ignore:.*(the price falls below zero|% of the price in a day)")


@extreme
@by_every_simulator
def test_no_outcome_is_cut(simulate):
    check_no_outcome_is_cut(simulate)


def check_a_board_cuts_nothing(judge):
    for size in (1.0, 1e6):
        scenario = replace(BARE, quantity=size * BARE.quantity)
        (row,) = judge(scenario, entrants(["all-at-once"]), get_policy("TWAP"), episodes=20, seed=0).rows
        transient = (scenario.kyle_lambda - scenario.perm_impact_gamma) * 1e4 * scenario.quantity / scenario.adv / 2.0
        assert row.objective_bps == pytest.approx(transient, rel=1e-12)


def test_no_board_cuts_an_outcome():
    check_a_board_cuts_nothing(judge)


@extreme
@pytest.mark.parametrize(("least", "most"), [(-np.inf, 1e4), (-1e4, np.inf)])
@by_every_simulator
def test_a_statement_that_is_clipped_is_found(simulate, least, most):
    def clipped(*given):
        statement = settle_in_bps(*given)
        cut = {key: np.clip(getattr(statement, key), least, most) for key in ("shortfall", "objective")}
        return statement._replace(**cut)

    with in_place_of(settle_in_bps, clipped), pytest.raises(AssertionError):
        check_no_outcome_is_cut(simulate)
    if most < np.inf:
        with in_place_of(settle_in_bps, clipped), pytest.raises(AssertionError):
            check_a_board_cuts_nothing(judge)


class ClipsTheReward(HyperExecEnv):
    """No slice costs more than a tenth of the order."""

    def trade(self, shares):
        observation, reward, *rest = super().trade(shares)
        return observation, max(reward, -1e3), *rest


def test_a_reward_that_is_clipped_is_found():
    with pytest.raises(AssertionError):
        check_no_outcome_is_cut(lambda scenario, shares: by_environment(scenario, shares, ClipsTheReward))


def check_permanent_cost_does_not_depend_on_the_slicing(simulate):
    """The permanent cost is g X^2 / 2 whatever the schedule (Almgren and Chriss 2000)."""
    rng = np.random.default_rng(3)
    for name in ("regime-day", "hunted-day", "bertsimas-lo", "obizhaeva-wang"):
        scenario = get_scenario(name)
        slices = scenario.slices
        whole = 5e3 * scenario.perm_impact_gamma * scenario.quantity / scenario.adv
        once, evenly = np.eye(slices)[0], np.full(slices, 1.0 / slices)
        for weights in (once, evenly, rng.dirichlet(np.ones(slices))):
            found = simulate(scenario, scenario.quantity * weights)
            assert found["permanent"] == pytest.approx(whole, rel=1e-12)


@by_every_simulator
def test_permanent_cost_does_not_depend_on_the_slicing(simulate):
    check_permanent_cost_does_not_depend_on_the_slicing(simulate)


@by_every_simulator
def test_permanent_impact_that_is_concave_in_each_fill_is_found(simulate):
    genuine, size = kernel.move, DAY.quantity  # a block of this size costs what it should

    def concave(impact, state, slice, shares):
        (remaining, _, transient), (_, *costs) = genuine(impact, state, slice, shares)
        traded = state[0] - remaining
        permanent = state[1] + impact[0] * np.sqrt(size * traded)
        return (remaining, permanent, transient), (0.5 * traded * (state[1] + permanent), *costs)

    with in_place_of(genuine, concave), pytest.raises(AssertionError):
        check_permanent_cost_does_not_depend_on_the_slicing(simulate)


def check_idle_time_decays_the_impact_by_the_clock(simulate):
    """After an idle time t the share exp(-rho t) of the displacement is left (Obizhaeva and Wang 2013), however finely the day
    is cut: the transient cost of three trades follows from their sizes and from the time between them.
    """
    times, weights = np.array([0.0, 0.5, 0.75]), np.array([0.5, 0.3, 0.2])
    for rho in (0.0, 2.0, 10.0):
        kept = np.exp(-rho * np.abs(times[:, None] - times))
        for slices in (4, 8, 32, 128):
            scenario = replace(BARE, resilience=rho, slices=slices)
            shares = np.zeros(slices)
            shares[(times * slices).astype(int)] = scenario.quantity * weights
            kappa = (scenario.kyle_lambda - scenario.perm_impact_gamma) / scenario.adv
            expected = 5e3 * kappa * scenario.quantity * (weights @ kept @ weights)
            assert simulate(scenario, shares)["transient"] == pytest.approx(expected, rel=1e-12)


@by_every_simulator
def test_idle_time_decays_the_impact_by_the_clock(simulate):
    check_idle_time_decays_the_impact_by_the_clock(simulate)


def twice_when_idle(impact, state, slice, shares, genuine=kernel.move):
    """An idle slice decays the displacement once as a slice and once for being idle."""
    (remaining, permanent, transient), cost = genuine(impact, state, slice, shares)
    return (remaining, permanent, transient * np.where(remaining == state[0], slice[5], 1.0)), cost


class ByTheClockAndBySlice:
    """A trade decays the displacement by the time since the trade before, which the slices have done already."""

    def __init__(self, genuine=kernel.move):
        self.genuine, self.idle = genuine, 0

    def __call__(self, impact, state, slice, shares):
        if not np.any(shares):
            self.idle += 1
            return self.genuine(impact, state, slice, shares)
        again, self.idle = slice[5] ** self.idle, 0
        return self.genuine(impact, (*state[:2], state[2] * again), slice, shares)


@by_every_simulator
def test_idle_time_that_decays_the_impact_twice_is_found(simulate):
    for broken in (twice_when_idle, ByTheClockAndBySlice()):
        with in_place_of(kernel.move, broken), pytest.raises(AssertionError):
            check_idle_time_decays_the_impact_by_the_clock(simulate)


# --- 7: nothing is trained or chosen on the episodes of a board

SMALL = {
    "ppo": {"timesteps": 416, "lanes": 16, "steps": 13, "batch_size": 104, "epochs": 1},
    "sac": {"timesteps": 416, "lanes": 16, "learning_starts": 208, "batch_size": 64, "gradient_steps": 1},
    "dqn": {"timesteps": 416, "lanes": 16, "learning_starts": 208, "batch_size": 64, "gradient_steps": 1},
}


@pytest.fixture
def training(tmp_path):
    """Return what trains by an algorithm with a tiny budget."""
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

    def train(algorithm, seed=0):
        script = importlib.import_module(f"hyperexec_env.training.{algorithm}")
        out = str(tmp_path / f"{algorithm}-{seed}")
        return script.train(script.Args(**SMALL[algorithm], seed=seed, out=out, tensorboard=False, progress=False))

    return train


def check_the_episodes_of_boards_are_left_alone(train):
    """Training, and the choice of what it returns, meet no episode that a board may judge on."""
    genuine, seeds, keys = noise.key, set(), set()

    def recorded(seed, episode):
        drawn = genuine(seed, episode)
        seeds.update(np.ravel(seed).tolist())
        keys.update(np.ravel(drawn).tolist())
        return drawn

    with in_place_of(genuine, recorded):
        train()
    require(seeds, "training draws no episode")
    assert max(seeds) < noise.BOARD
    assert not keys & set(episode_keys(0, np.arange(20_000), board=True).tolist())


def test_a_board_takes_no_other_seeds():
    check_evaluation(2, LARGEST_SEED_OF_A_BOARD)
    with pytest.raises(ValueError, match="seed must be"):
        check_evaluation(2, LARGEST_SEED_OF_A_BOARD + 1)


@pytest.mark.parametrize("algorithm", SMALL)
def test_training_never_meets_the_episodes_of_a_board(training, algorithm):
    check_the_episodes_of_boards_are_left_alone(lambda: training(algorithm))


def test_a_checkpoint_that_is_chosen_on_the_board_is_found(training):
    def chosen():
        policies = {seed: training("ppo", seed) for seed in range(2)}
        taking_part = [Entrant(policy, training_seed=seed) for seed, policy in policies.items()]
        return policies[judge(DAY, taking_part, get_policy("TWAP"), episodes=20, seed=0).rows[0].training_seed]

    with pytest.raises(AssertionError):
        check_the_episodes_of_boards_are_left_alone(chosen)


def test_training_on_the_episodes_of_the_board_is_found(training):
    genuine = noise.seed_words
    with in_place_of(genuine, lambda seeds, board=False: genuine(seeds, board=True)), pytest.raises(AssertionError):
        check_the_episodes_of_boards_are_left_alone(lambda: training("ppo"))


def learn_by_stable_baselines3(env, seed):
    """What a user does who has never heard of boards."""
    learner = pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    learner.PPO("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=seed, device="cpu").learn(64)


@pytest.mark.parametrize("seed", [0, LARGEST_SEED_OF_A_BOARD])
def test_a_users_own_training_meets_no_episode_of_the_board_of_its_seed(seed):
    check_the_episodes_of_boards_are_left_alone(lambda: learn_by_stable_baselines3(HyperExecEnv(), seed))


def test_a_training_on_replayed_episodes_of_the_board_is_found():
    class Replay(HyperExecEnv):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=0, options={"board": True, "episode": self.number + 1})

    with pytest.raises(AssertionError):
        check_the_episodes_of_boards_are_left_alone(lambda: learn_by_stable_baselines3(Replay(), 0))


# --- 8: policies are judged on the same episodes


def check_policies_meet_one_market(judge):
    """All policies see the same regimes, flows, prices and volumes, slice by slice."""
    recorders = [Recorder(get_policy(name)) for name in ("TWAP", "IS", "all-at-once")]
    judge(DAY, [Entrant(recorder) for recorder in recorders], get_policy("TWAP"), episodes=50, seed=3)
    first, *others = (
        [{key: shown[key] for key in ("k", "seen", "flow", "price", "last_volume")} for shown in recorder.shown]
        for recorder in recorders
    )
    assert all(all_same(first, other) for other in others)


def test_policies_meet_one_market():
    check_policies_meet_one_market(judge)


def test_a_judge_that_draws_other_paths_for_each_policy_is_found():
    def unpaired(scenario, taking_part, reference, *, episodes, seed):
        for number, entrant in enumerate(taking_part):
            judge(scenario, [entrant], reference, episodes=episodes, seed=seed + number)

    with pytest.raises(AssertionError):
        check_policies_meet_one_market(unpaired)


def test_the_judge_refuses_paths_of_their_own_for_the_policies():
    def elsewhere(market, policy, path, *rest, **options):
        keys = path.keys + np.uint64(policy.name == "IS")
        return roll(market, policy, draw_path(market, keys, float(market.scenario.side)), *rest, **options)

    with in_place_of(roll, elsewhere), pytest.raises(RuntimeError, match="did not meet the same market"):
        check_policies_meet_one_market(judge)


@pytest.mark.parametrize("field", World._fields)
def test_the_judge_refuses_a_policy_that_changes_the_path(field):
    class Vandal:
        """Has got hold of the path, and makes what comes look like now."""

        name, path = "vandal", None

        def act(self, situation):
            if self.path is not None:
                values = getattr(self.path.world, field)
                same = field not in ("regime", "flow", "price")  # all other fields are the same later in this market
                values[situation.k + 1 :] = values[situation.k] + same
            return situation.remaining / 10.0

    def careless(market, policy, path, *rest, **options):
        policy.path = path
        return roll(market, policy, path, *rest, **options)

    with in_place_of(roll, careless), pytest.raises(RuntimeError, match="did not meet the same market"):
        judge(DAY, [Entrant(Vandal())], Recorder(get_policy("TWAP")), episodes=50, seed=3)


@pytest.mark.parametrize("table", ["mean_volume", "temporary_scale", "half_spread", "risk", "transient_decay"])
def test_a_policy_cannot_change_the_market(table):
    class Vandal:
        name = "vandal"

        def act(self, situation):
            getattr(situation.market, table)[...] = 0.0
            return situation.remaining / 10.0

    market = replace(DAY, name=f"a market of its own for {table}")  # built markets are kept: no other test may meet this one
    board = judge(market, [Entrant(Vandal())], get_policy("TWAP"), episodes=2, seed=0)
    assert "read-only" in board.failed[0].reason


def test_a_market_that_a_policy_has_forced_open_is_found_before_anything_is_stored(tmp_path):
    class Burglar:
        name, digest = "burglar", "burglar"

        def act(self, situation):
            scale = situation.market.temporary_scale
            scale.flags.writeable = True
            scale *= 0.5
            return situation.remaining / 10.0

    market = replace(DAY, name="a market of its own for a burglar")
    with Store(tmp_path / "s") as store, pytest.raises(RuntimeError, match="policy 'burglar' has changed the market"):
        judge(market, [Entrant(Burglar())], Recorder(get_policy("TWAP")), episodes=50, seed=3, store=store)
    with Store(tmp_path / "s") as store:
        assert store.cells() == []


def test_a_policy_that_changes_the_impact_for_a_while_gains_nothing():
    market, twap = build_market(replace(DAY, name="a market of its own for a pickpocket")), get_policy("TWAP")
    impact = market.impact

    class Pickpocket:
        name = "pickpocket"

        def act(self, situation):
            last = situation.k == market.slices - 1
            cheap = impact._replace(permanent_slope=0.0, transient_slope=0.0)
            object.__setattr__(situation.market, "impact", impact if last else cheap)
            return twap.act(situation)

    path = draw_path(market, episode_keys(3, np.arange(20)), 1.0)
    assert np.array_equal(roll(market, Pickpocket(), path).statement.objective, roll(market, twap, path).statement.objective)


# --- sanity policies must not win

LUMPS_PAY = "geo-compat"
"""A market that is labelled as not sound."""
LET_WIN = {
    # a tenth of the volume cannot finish the order and the end executes the rest at any price, so it pays to take all that the
    # cap allows, always: that is what "all at once" does there
    "desk-5min": {"all-at-once"},
    # the optimum trades a block at each end; of equal trades, the first and the last of 21 are larger blocks than those of 101
    "obizhaeva-wang": {"every-5th"},
}
"""Sanity policies that beat TWAP on a sound market, and why."""


def winners(scenario):
    """The sanity policies that beat TWAP beyond doubt: those that the board warns of."""
    board = judge(scenario, entrants(["sanity"]), get_policy("TWAP"), episodes=400, seed=0)
    return {name for name in SANITY if any(f"sanity policy {name} " in text for text in board.warnings)}


def check_no_sanity_policy_wins(scenario):
    assert winners(scenario) == set()


def test_no_sanity_policy_beats_twap():
    for name in [name for name in scenario_names() if name not in (*LET_WIN, LUMPS_PAY)]:
        check_no_sanity_policy_wins(get_scenario(name))


def test_a_market_that_pays_for_lumps_puts_warnings_on_the_board():
    assert winners(get_scenario(LUMPS_PAY)) == set(SANITY)
    with pytest.raises(AssertionError):
        check_no_sanity_policy_wins(get_scenario(LUMPS_PAY))
    # the power of the transient impact is to blame: linear, the same market is sound
    check_no_sanity_policy_wins(replace(get_scenario(LUMPS_PAY), transient_exponent=1.0))


@pytest.mark.parametrize("name", LET_WIN)
def test_the_sanity_policies_that_win_on_a_sound_market_are_known(name):
    assert winners(get_scenario(name)) == LET_WIN[name]


def test_all_at_once_wins_in_desk_5min_by_what_the_cap_leaves_to_the_end():
    scenario = get_scenario("desk-5min")
    market, path = build_market(scenario), paths(scenario)
    at_once, twap = (roll(market, get_policy(name), path) for name in ("all-at-once", "TWAP"))
    assert (at_once.forced <= twap.forced).all()
    assert at_once.forced.mean() < twap.forced.mean()
    check_no_sanity_policy_wins(replace(scenario, max_participation=None))
    check_no_sanity_policy_wins(replace(scenario, max_participation=0.2))  # enough to finish the order


def test_every_5th_wins_in_obizhaeva_wang_by_its_blocks_at_the_ends_not_by_its_lumps():
    scenario = get_scenario("obizhaeva-wang")
    slices, market, path = scenario.slices, build_market(scenario), paths(scenario)

    def cost(weights):
        return roll(market, Plan(scenario.quantity * weights / weights.sum()), path).statement.objective.mean()

    evenly, lumps = np.ones(slices), 1.0 * (np.arange(slices) % 5 == 0)
    block = 1.0 / lumps.sum()
    blocks_without_lumps = np.full(slices, (1.0 - 2.0 * block) / (slices - 2))
    blocks_without_lumps[[0, -1]] = block
    lumps_without_blocks = lumps.copy()
    lumps_without_blocks[[0, -1]] = 1.0 / 5.0
    assert cost(blocks_without_lumps) < cost(lumps) < cost(evenly) < cost(lumps_without_blocks)
