"""One agreement for each execution: arrays, compiled loops, stages, rollouts and torch do what the single environment does.

Each test compares one thing that an agent is shown or paid, so that a failure names its cause. `test_vector.py` plays every
scenario, option and autoreset mode.
"""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest

from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.envs.action import PACES, Action, Base
from hyperexec_env.envs.features import assemble, observation_names, observe, view_cell
from hyperexec_env.envs.info import LazyInfo
from hyperexec_env.envs.reward import pay
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.task import build_task, final_info
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.loop import RuleLoop
from hyperexec_env.evaluation.rollout import roll, roll_rule
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.market import lane as stages
from hyperexec_env.market.noise import as_words, episode_keys
from hyperexec_env.market.path import draw_path, draw_shocks, draws_of, order_numbers
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import SliceRow, build_market
from hyperexec_env.records import leaves, map_leaves, numbers

pytestmark = pytest.mark.fast

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")

LANES, STEPS, SEED = 5, 60, 17
OPTIONS = {
    "scenario": {
        "base": "trending-day",
        "name": "full",
        "temp_impact_beta": 0.5,
        "predator": 0.3,
        "flow_persistence": 0.5,
        "complete": False,
        "max_participation": 0.1,
        "volume_level_sd": 0.4,
        "volume_persistence": 0.4,
        "volatility_curve": [1.6, 0.8, 0.7, 1.2],
    },
    "action_mode": "discrete",
    "random_side": True,
    "quantity_range": (0.5, 2.0),
    "observe_regime": False,
    "reward": "realised",
}
"""The fullest program of `test_vector.py`: every lane has its own order, a signal and a predator's memory."""


# --- lanes


@cache
def play(backend):
    """Play some lanes beside single environments; return what both were shown and paid, step by step, by name."""
    env = HyperExecVectorEnv(LANES, "SameStep", backend, **OPTIONS)
    singles = [HyperExecEnv(**OPTIONS) for _ in range(LANES)]
    ours = {name: [] for name in ("observation", "reward", "terminated", "mask", "statement")}
    theirs = {name: [] for name in ours}
    observation, info = env.reset(seed=SEED)
    begun = [single.reset(seed=SEED + lane) for lane, single in enumerate(singles)]
    ours["observation"].append(observation)
    theirs["observation"].append([seen for seen, _ in begun])
    ours["mask"].append(info["action_mask"])
    theirs["mask"].append([told["action_mask"] for _, told in begun])
    rng = np.random.default_rng(SEED)
    for _ in range(STEPS):  # the first lanes wait for the deadline, the last ones hurry
        hurry = rng.random(LANES) < np.linspace(0.0, 1.0, LANES)
        actions = np.where(hurry, len(PACES) - 1, rng.integers(0, 4, LANES))
        observation, reward, terminated, _, info = env.step(actions)
        stepped = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        for lane in np.flatnonzero(terminated):
            ours["statement"].append(
                of_lane({key: value for key, value in info["final_info"].items() if "mask" not in key}, lane)
            )
        for lane, (_, _, over, _, told) in enumerate(stepped):
            if over:
                theirs["statement"].append({key: value for key, value in told.items() if key != "action_mask"})
                stepped[lane] = (singles[lane].reset()[0], *stepped[lane][1:])
        ours["observation"].append(observation)
        theirs["observation"].append([seen for seen, *_ in stepped])
        ours["reward"].append(reward)
        theirs["reward"].append([paid for _, paid, *_ in stepped])
        ours["terminated"].append(terminated)
        theirs["terminated"].append([over for _, _, over, *_ in stepped])
        ours["mask"].append(info["action_mask"])
        theirs["mask"].append([single.action_masks() for single in singles])
    assert np.sum(ours["terminated"], axis=0).min() >= 2, "each lane ends at least twice"
    return ours, theirs


def of_lane(info, lane):
    """The entries of one lane, as the single environment states them."""
    plain = {key: value for key, value in info.items() if not key.startswith("_")}
    return {key: of_lane(value, lane) if isinstance(value, dict) else value[lane] for key, value in plain.items()}


def assert_equal(backend, name):
    ours, theirs = (side[name] for side in play(backend))
    assert len(ours) == len(theirs) > 0
    for step, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert np.array_equal(one, other), f"{name} differs first in step {step}"


def test_numpy_observation_equals_single():
    assert_equal("numpy", "observation")


def test_numpy_reward_equals_single():
    assert_equal("numpy", "reward")


def test_numpy_end_equals_single():
    assert_equal("numpy", "terminated")


def test_numpy_mask_equals_single():
    assert_equal("numpy", "mask")


def test_numpy_statement_equals_single():
    ours, theirs = play("numpy")
    assert ours["statement"] == theirs["statement"] != []


@needs_numba
def test_compiled_observation_equals_single():
    assert_equal("numba", "observation")


@needs_numba
def test_compiled_reward_equals_single():
    assert_equal("numba", "reward")


@needs_numba
def test_compiled_end_equals_single():
    assert_equal("numba", "terminated")


@needs_numba
def test_compiled_mask_equals_single():
    assert_equal("numba", "mask")


@needs_numba
def test_compiled_statement_equals_single():
    ours, theirs = play("numba")
    assert ours["statement"] == theirs["statement"] != []


# --- stages


def as_floats(record):
    """A record of one lane as Python numbers."""
    return map_leaves(lambda value: np.ravel(value)[0].item(), record)


def as_arrays(record):
    """A record of one lane as arrays of shape (1,)."""
    return map_leaves(np.atleast_1d, record)


@pytest.mark.parametrize("form", [as_arrays, as_floats])
@pytest.mark.parametrize("name", ["hunted-day", "desk-5min"])
def test_stages_on_floats_equal_the_single_environment(name, form):
    """Draws come from arrays of one lane; what trades, pays, observes and settles is given numbers of either form."""
    options = {"reward": "realised", "random_side": True, "quantity_range": (0.5, 2.0)}
    env, task = HyperExecEnv(name, **options), build_task(name, **options)
    market, orders = task.market, order_numbers(task.market, task.draw)
    observation, _ = env.reset(seed=SEED)
    ticket = stages.Ticket(as_words([SEED]), as_words([0]))
    ticket, order, lane = stages.begin(market.numbers, orders, market.start, ticket)
    key = order.key
    rng, over = np.random.default_rng(0), False
    while not over:
        order, lane = as_arrays(order)._replace(key=key), as_arrays(lane)
        assert np.array_equal(observation_of(task, form(order), form(lane)), observation)
        cell = stages.slice_cell(market.numbers, lane)
        row = map_leaves(lambda column, cell=cell: column.take(cell), market.table)
        words = stages.draw_words(order, lane)
        draws = draws_of(words, draw_shocks(market.numbers, words))
        slice, world = map(as_arrays, stages.next_slice(market.numbers, order, lane, row, draws))
        action = float(rng.uniform(-1.0, 0.3))
        order, lane, slice, world = map(form, (order, lane, slice, world))
        base = form(Base(task.mode.base.take(cell)))
        asked = task.mode.ask(lane, base, form(Action(action)))
        lane, cost = stages.turn(market.numbers, lane, slice, world, asked)
        paid = pay(market.numbers, task.reward, order, lane, cost)
        observation, reward, over, _, info = env.step(np.array([action]))
        assert np.ravel(paid.reward).item() == reward
        assert bool(np.ravel(paid.terminated).item()) == over
    assert np.array_equal(observation_of(task, order, lane), observation)
    assert stated(final_info(stages.settle(market.numbers, order, lane))) == info
    assert ticket.episode.tolist() == [1]


def observation_of(task, order, lane):
    """What stages show of a lane."""
    cell = view_cell(task.market.numbers, lane)
    seen = observe(task.market.numbers, task.observer.sight, order, lane, task.observer.view(cell))
    return np.ravel(assemble(seen, task.observer.rows.take(cell, axis=0)))


def stated(info):
    """Statement of one lane in plain numbers."""
    return {key: stated(value) if isinstance(value, dict) else np.ravel(value)[0].item() for key, value in info.items()}


def test_constant_fields_are_constant():
    """Compiled loops keep no memory for these fields: in lanes of arrays, which do, they never change."""
    for name in [*scenario_names(), "an open end"]:
        scenario = replace(get_scenario("regime-day"), complete=False) if name == "an open end" else get_scenario(name)
        market = build_market(scenario)
        orders = order_numbers(market)
        fixed = stages.constant_fields(market.numbers, orders)
        assert fixed
        for (record, path), value in fixed.items():
            assert path in dict(leaves(record)), path
            if record is SliceRow:
                assert (getattr(market.table, path) == value).all(), path
        env = HyperExecVectorEnv(4, "NextStep", "numpy", scenario=scenario)
        env.reset(seed=SEED)
        rng = np.random.default_rng(0)
        for _ in range(scenario.slices + 3):
            env.step(rng.uniform(-1.0, [[0.0], [0.3], [0.6], [1.0]]))
            for kind in (stages.EpisodeOrder, stages.Lane):
                now = dict(zip((path for path, _ in leaves(kind)), numbers(env._lanes.record(kind)), strict=True))
                for path, values in now.items():
                    if (kind, path) in fixed:
                        value = fixed[kind, path]
                        assert (values == (getattr(orders, value[1]) if isinstance(value, tuple) else value)).all(), path


def test_a_drawn_order_is_not_constant():
    market = build_market(get_scenario("regime-day"))
    draw = build_task(random_side=True, quantity_range=(0.5, 2.0)).draw
    assert not {record for record, _ in stages.constant_fields(market.numbers, order_numbers(market, draw))} & {
        stages.EpisodeOrder
    }


# --- rollouts

LEVELLED = replace(get_scenario("regime-day"), name="levelled", volume_level_sd=0.5, volume_persistence=0.4)
"""Every episode has a volume level of its own, around which the volume persists."""


@cache
def outcomes(name):
    """Final info of the first episodes of a seed under TWAP in the single environment, and their keys."""
    env, policy, found = HyperExecEnv(name), get_policy("TWAP"), []
    for episode in range(4):
        env.reset(seed=None if episode else SEED)
        over = False
        while not over:
            _, _, over, _, info = env.trade(float(policy.act(env.situation)))
        found.append(info)
    return found, episode_keys(SEED, np.arange(4))


def in_order(infos):
    """Columns of the statements, by name."""
    names = ("shortfall_bps", "objective_bps", "risk_bps", "forced_fraction")
    return {name: [info[name] for info in infos] for name in names}


def columns(outcome):
    """The same columns of an outcome."""
    statement = outcome.statement
    return {
        "shortfall_bps": statement.shortfall,
        "objective_bps": statement.objective,
        "risk_bps": statement.risk,
        "forced_fraction": outcome.forced,
    }


@pytest.mark.parametrize(
    "name", ["regime-day", "hunted-day", "desk-5min", LEVELLED], ids=lambda case: getattr(case, "name", case)
)
def test_rollout_statement_equals_single(name):
    infos, keys = outcomes(name)
    market = build_market(get_scenario(name))
    found = roll(market, get_policy("TWAP"), draw_path(market, keys, float(market.scenario.side)))
    for key, values in columns(found).items():
        assert np.array_equal(values, in_order(infos)[key]), key
    for part, values in found.statement.components._asdict().items():
        assert np.array_equal(values, [info["components_bps"][part] for info in infos]), part


@needs_numba
@pytest.mark.parametrize("name", ["regime-day"])  # test_loop.py compares compiled rollouts of every kind of market with numpy
def test_compiled_rollout_statement_equals_single(name):
    infos, keys = outcomes(name)
    market = build_market(get_scenario(name))
    found = roll_rule(market, RuleLoop(market, rule_of(get_policy("TWAP"), market, False)), keys)
    for key, values in columns(found).items():
        assert np.array_equal(values, in_order(infos)[key]), key


@pytest.mark.parametrize("name", ["regime-day", "desk-5min", LEVELLED], ids=lambda case: getattr(case, "name", case))
def test_torch_rollout_equals_single(name):
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from hyperexec_env.training import torch_rollout

    task, env = build_task(name), HyperExecEnv(name)
    weights = 0.1 * np.random.default_rng(0).normal(size=len(observation_names()))
    path = draw_path(task.market, episode_keys(SEED, np.arange(4)), float(task.scenario.side))
    lanes = torch_rollout.lanes_of(task.observer, task.mode, path, torch.float64)
    found = torch_rollout.roll(
        task.observer, task.mode, lanes, lambda seen: torch.tanh(seen.float().double() @ torch.tensor(weights))
    )
    for episode in range(4):
        observation, _ = env.reset(seed=None if episode else SEED)
        over = False
        while not over:
            action = np.tanh(observation.astype(float) @ weights)
            observation, _, over, _, info = env.step(np.array([action]))
        assert found.objective[episode].item() == pytest.approx(info["objective_bps"], rel=1e-9)
        assert found.shortfall[episode].item() == pytest.approx(info["shortfall_bps"], rel=1e-9)


# --- the info of lanes that ended


PLAIN = {"known": 1, "shortfall_bps": 2.5, "components_bps": {"spread": 1.0}}


def lazy():
    """A lazy info that stands for PLAIN, and the calls of its layout."""
    calls = []

    def lay_out():
        calls.append(1)
        return {key: value for key, value in PLAIN.items() if key != "known"}

    return LazyInfo({"known": 1}, lay_out), calls


READS = {
    "getitem": lambda info: info["shortfall_bps"],
    "in": lambda info: ("shortfall_bps" in info, "missing" in info),
    "get": lambda info: (info.get("shortfall_bps"), info.get("missing"), info.get("missing", 7)),
    "iteration": list,
    "reversed": lambda info: list(reversed(info)),
    "keys": lambda info: list(info.keys()),
    "values": lambda info: list(info.values()),
    "items": lambda info: list(info.items()),
    "len": len,
    "bool": bool,
    "repr": repr,
    "equal": lambda info: (info == PLAIN, info == PLAIN, info == {}),
    "unequal": lambda info: (info != PLAIN, info != PLAIN, info != {}),
    "or": lambda info: info | {"more": 3},
    "or of another": lambda info: {"more": 3} | info,
    "dict": dict,
    "unpacked": lambda info: {**info},
    "update of another": lambda info: updated({"more": 3}, info),
    "copy": lambda info: info.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda info: pickle.loads(pickle.dumps(info)),  # noqa: S301 - made one line before
    "json": json.dumps,
}
WRITES = {
    "setitem": lambda info: info.__setitem__("shortfall_bps", 9),
    "delitem": lambda info: info.__delitem__("shortfall_bps"),
    "update": lambda info: info.update({"shortfall_bps": 9}),
    "update by name": lambda info: info.update(more=1),
    "ior": lambda info: info.__ior__({"more": 1}),
    "setdefault": lambda info: (info.setdefault("shortfall_bps", 9), info.setdefault("more", 9)),
    "pop": lambda info: (info.pop("shortfall_bps"), info.pop("missing", None)),
    "popitem": lambda info: info.popitem(),
    "clear": lambda info: info.clear(),
}


def updated(one, other):
    one.update(other)
    return one


def test_lazy_info_reads_as_a_plain_dict():
    for name in READS:
        read, (info, calls) = READS[name], lazy()
        assert read(info) == read(copy.deepcopy(PLAIN))
        assert calls == [1]
        assert type(info.copy()) is dict
        assert info == PLAIN
        assert calls == [1], "laid out once"


def test_lazy_info_is_written_as_a_plain_dict():
    for name in WRITES:
        write, (info, _), plain = WRITES[name], lazy(), copy.deepcopy(PLAIN)
        assert write(info) == write(plain)
        assert dict(info) == plain


def test_a_known_key_of_a_lazy_info_lays_nothing_out():
    info, calls = lazy()
    assert info["known"] == 1
    assert calls == []
    with pytest.raises(KeyError, match="missing"):
        info["missing"]
    assert calls == [1]


def test_a_lazy_info_that_meets_another_fills_both():
    (one, _), (other, _) = lazy(), lazy()
    assert one == other
    (one, _), (other, _) = lazy(), lazy()
    assert one | other == PLAIN
    (one, _), other = lazy(), {}
    other |= one
    assert other == PLAIN


def test_a_step_whose_info_nobody_reads_lays_nothing_out(monkeypatch):
    """A mask is read at every step, the statement of lanes that ended is not."""
    env = HyperExecVectorEnv(2, "NextStep", "numpy", action_mode="discrete", scenario="desk-5min")
    env.reset(seed=0)
    laid_out = []
    monkeypatch.setattr("hyperexec_env.envs.vector.final_info", lambda settled: laid_out.append(1) or final_info(settled))
    for _ in range(40):
        *_, info = env.step(np.zeros(2, int))
        assert info["action_mask"].shape == (2, len(PACES))
    assert laid_out == []
