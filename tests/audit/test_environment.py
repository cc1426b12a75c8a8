"""The audit of an environment: sound environments pass, and each broken copy is caught by the check of its fault."""

import json
import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.audit.data import FAULTS
from hyperexec_env.audit.environment import CHECKS, audit_env
from hyperexec_env.audit.own import own_adapter
from hyperexec_env.audit.policy import POLICY_CHECKS
from hyperexec_env.audit.results import RESULT_CHECKS
from hyperexec_env.audit.settings import Settings
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.market.scenario import scenario_names

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def page():
    """The names of the script of docs/audit.md that has the adapter."""
    (script,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "ADAPTER = Adapter" in block)
    names = {"__name__": "page_of_audits"}
    exec(compile(script, "docs/audit.md", "exec"), names)  # noqa: S102 - the script of the page
    return names


NAMES = page()
ADAPTER, Sound = NAMES["ADAPTER"], NAMES["Liquidation"]
EPISODES = 40


def audit(kind, **changes):
    """Audit a class that has the same attributes as the environment of the page."""
    return audit_env(replace(ADAPTER, make=kind, sliced=kind, **changes), episodes=EPISODES)


def audit_own(make):
    return audit_env(own_adapter(make, make()), episodes=EPISODES)


# --- what is sound


def test_the_environment_of_the_page_passes_and_only_has_nothing_hidden():
    found = audit(Sound)
    assert found.checks("failed") == []
    assert found.checks("not run") == ["hidden"]
    assert found.exit_code == 0
    assert "12 passed" not in str(found)
    assert str(found).startswith("audit of the environment Liquidation: 11 passed, 0 failed, 1 not run\n")


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ({}, ["hidden"]),
        ({"observe_regime": False}, ["fills"]),
        ({"scenario": "trending-day", "reward": "realised", "random_side": True}, ["hidden"]),
        ({"scenario": "hunted-day", "action_mode": "fraction"}, ["hidden"]),
    ],
)
def test_our_environment_passes(options, left_out):
    found = audit_own(lambda: HyperExecEnv(**options))
    assert found.checks("failed") == [], str(found)
    assert found.checks("not run") == left_out, str(found)


def of_two(kind, **options):
    """A function that makes an environment of a basket of two assets in ten slices."""
    ten = hx.get_basket("basket-pairs").with_assets(slices=10)
    two = replace(ten, assets=ten.assets[:2], correlation=((1.0, 0.6), (0.6, 1.0)), factors=())
    return lambda: kind(scenario=two, **options)


@pytest.mark.parametrize(("mode", "reward"), [("pace", "expected"), ("dial", "realised"), ("discrete", "expected")])
def test_our_environment_of_baskets_passes(mode, reward):
    make = of_two(HyperExecBasketEnv, action_mode=mode, reward=reward)
    found = audit_env(own_adapter(make, make()), episodes=10)
    assert found.checks("failed") == [], str(found)
    assert found.checks("not run") == ["future", "foresight", "hidden", "fills"], str(found)


class OwnDiscount(HyperExecBasketEnv):
    """Forgets a fifth of the costs in the rewards."""

    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, 0.8 * reward, *rest


def test_a_broken_copy_of_our_environment_of_baskets_is_caught():
    make = of_two(OwnDiscount)
    found = audit_env(own_adapter(make, make()), episodes=10)
    assert found.checks("failed") == ["account"], str(found)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", scenario_names())
def test_every_sound_scenario_passes(scenario):
    """The one that pays for lumps is labelled as not sound."""
    found = audit_own(lambda: HyperExecEnv(scenario=scenario))
    assert set(found.checks("failed")) == ({"halving", "bursts", "random"} if scenario == "geo-compat" else set()), str(found)


def test_an_audit_finds_the_same_again():
    assert audit(Sound).to_dict() == audit(Sound).to_dict()


def test_an_environment_without_an_adapter_gets_the_checks_that_need_none():
    found = audit_env(lambda: gym.make("CartPole-v1"), episodes=10)
    assert found.checks("passed") == ["spaces", "repeatable", "reset"]
    assert found.checks("failed") == []
    assert "the adapter has no perturb_future" in found.named("future").evidence
    assert any("need an adapter" in note for note in found.notes)


# --- broken copies of the environment of the page


class ShowsTheNextPrice(Sound):
    def observe(self):
        return np.array([*super().observe()[:2], self.moves[min(self.k, self.slices - 1)]])


class NormalisesByTheWholeDay(Sound):
    """Scales the price by the volatility of the day, which only its end knows."""

    def observe(self):
        time, left, moved = super().observe()
        return np.array([time, left, moved / self.moves.std()])


class CapsTheImpact(Sound):
    """A rate above 1.58 orders a day costs no more than that rate: bursts pay, gentle random trades do not."""

    half_spread = 0.0

    def concession(self, sold):
        if not sold:
            return 0.0
        rate = sold * self.slices / self.shares
        return self.impact * self.shares * min(rate**2, 2.5) / rate


class PunishesRegularity(Sound):
    """Impact is 1.9 times as large for a child of about the size of the child before."""

    half_spread, before = 0.0, -1.0

    def reset(self, **options):
        self.before = -1.0
        return super().reset(**options)

    def concession(self, sold):
        regular, self.before = abs(sold - self.before) < 0.05 * abs(self.before), sold
        return super().concession(sold) * (1.9 if regular else 1.0)


class IgnoresTheLengthOfASlice(Sound):
    """Impact of the shares, not of their rate: cut finely, the order costs nothing."""

    half_spread = 0.0

    def concession(self, sold):
        return 20.0 * self.impact * sold


class KeepsTheBaseline(Sound):
    """The reward is relative to a TWAP of its own, whose inventory is not reset."""

    twap_left = twap_paid = None

    def reset(self, **options):
        observation = super().reset(**options)
        self.twap_left = self.shares if self.twap_left is None else self.twap_left
        self.twap_paid = 0.0
        return observation

    def step(self, action):
        child = min(self.shares / self.slices, self.twap_left)
        benchmark = child * super().concession(child)
        observation, reward, *rest = super().step(action)
        self.twap_left, self.twap_paid = self.twap_left - child, self.twap_paid + benchmark
        return observation, reward + benchmark, *rest


class KeepsTheFirstArrival(Sound):
    """The reported arrival price is that of the first episode."""

    reported = None

    def reset(self, **options):
        observation = super().reset(**options)
        self.reported = self.arrival if self.reported is None else self.reported
        return observation


class ClipsTheReward(Sound):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, max(reward, -5_000.0), *rest


class CountsFillsTwice(Sound):
    """Each fill takes twice its shares from the order."""

    def step(self, action):
        before = self.left
        result = super().step(np.array([0.5 * float(action[0])]) if self.k < self.slices - 1 else action)
        self.left = max(before - 2.0 * (before - self.left), 0.0)
        return result


class ReportsClippedShortfall(Sound):
    def bps(self, currency):
        return min(super().bps(currency), 5.0)


class DrawsFromTheClock(Sound):
    """Noise of a generator that the seed does not reach."""

    noise = np.random.default_rng(1)

    def reset(self, **options):
        super().reset(**options)
        self.moves = self.moves * (1.0 + 0.1 * self.noise.random())
        self.price = self.arrival = self.arrival + self.noise.random()
        return self.observe(), {}

    def observe(self):
        return np.array([*super().observe()[:2], self.price])


class LeavesItsSpace(Sound):
    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float64)


class PaysNan(Sound):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, reward if self.k < 5 else np.nan, *rest


class Fails(Sound):
    def concession(self, sold):
        if sold > 0.2 * self.shares:
            raise ZeroDivisionError("no liquidity")
        return super().concession(sold)


BROKEN = {
    ShowsTheNextPrice: ({"future", "foresight"}, {}),
    NormalisesByTheWholeDay: ({"future"}, {}),
    CapsTheImpact: ({"bursts"}, {}),
    PunishesRegularity: ({"random"}, {}),
    IgnoresTheLengthOfASlice: ({"halving"}, {}),
    KeepsTheBaseline: ({"reset"}, {"account": lambda env, info: env.gain + env.twap_paid}),
    KeepsTheFirstArrival: ({"arrival"}, {"arrival_price": lambda env: env.reported}),
    ClipsTheReward: ({"account"}, {}),
    CountsFillsTwice: ({"fills"}, {}),
    ReportsClippedShortfall: ({"fills"}, {"cost": lambda env, info: Sound.bps(env, env.paid)}),
    DrawsFromTheClock: ({"repeatable"}, {}),
    LeavesItsSpace: ({"spaces"}, {}),
}
"""Broken copy -> the checks that catch it, and no other; and the functions of the adapter that differ."""


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_copy_is_caught_by_the_check_of_its_fault_and_by_no_other(kind):
    checks, changes = BROKEN[kind]
    found = audit(kind, **changes)
    assert set(found.checks("failed")) == checks, str(found)
    assert found.exit_code == 1


def test_an_error_of_the_environment_fails_the_checks_that_meet_it():
    found = audit(Fails)
    assert "raised ZeroDivisionError: no liquidity" in found.named("bursts").evidence
    assert "halving" in found.checks("passed")


def test_a_reward_that_is_not_a_number_is_caught_and_is_valid_json():
    found = audit(PaysNan)
    assert set(found.checks("failed")) == {"spaces", "account"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_nothing_is_compared_where_episodes_are_not_repeatable():
    found = audit(DrawsFromTheClock)
    assert {"future", "reset", "arrival"} <= set(found.checks("not run"))


# --- broken copies of our environment


class OwnNextPrice(HyperExecEnv):
    """Shows the next move of the price as the move since arrival."""

    def step(self, action):
        observation, *rest = super().step(action)
        return self.told(observation), *rest

    def reset(self, **options):
        observation, info = super().reset(**options)
        return self.told(observation), info

    def begin_on(self, change):
        observation, info = super().begin_on(change)
        return self.told(observation), info

    def told(self, observation):
        price, k = self._running.world.price, self._running.k
        observation = observation.copy()
        observation[4] = np.clip(price[min(k + 1, len(price) - 1)] - price[k], -1.0, 1.0)
        return observation


class OwnRegime(OwnNextPrice):
    """Hides the regime, and shows its volatility."""

    def told(self, observation):
        world = self._running.world
        volatility = self.task.market.scenario.regimes.volatility
        observation = observation.copy()
        observation[12] = volatility[world.regime[self._running.k]]
        return observation


class OwnDisplacement(HyperExecEnv):
    """Hides the regime, and shows the displacement, whose decay tells it."""

    def step(self, action):
        observation, *rest = super().step(action)
        observation = observation.copy()
        observation[3] = min(self._running.state.transient, 1.0)
        return observation, *rest


class OwnGap(HyperExecEnv):
    """The market goes on from episode to episode, and costs are measured from the first arrival price."""

    gap = 0.0

    def reset(self, **options):
        if self._running is not None:
            self.gap += self._running.situation().price - self.task.scenario.arrival_price
        return super().reset(**options)

    def step(self, action):
        *rest, info = super().step(action)
        if info:
            info["shortfall_bps"] += 1e4 * info["side"] * self.gap / self.task.scenario.arrival_price
        return *rest, info


class OwnClip(HyperExecEnv):
    def step(self, action):
        observation, reward, *rest = super().step(action)
        return observation, max(reward, -3.0), *rest


@pytest.mark.parametrize(
    ("kind", "options", "checks"),
    [
        (OwnNextPrice, {}, {"future", "foresight"}),
        (OwnRegime, {"observe_regime": False}, {"hidden"}),
        (OwnDisplacement, {"observe_regime": False}, {"hidden"}),
        (OwnGap, {}, {"arrival"}),
        (OwnClip, {}, {"account"}),
        (HyperExecEnv, {"scenario": "geo-compat"}, {"halving", "bursts", "random"}),
    ],
)
def test_a_broken_copy_of_our_environment_is_caught(kind, options, checks):
    found = audit_own(lambda: kind(**options))
    assert set(found.checks("failed")) == checks, str(found)


# --- false alarms, and what cannot be said


class Free(Sound):
    """Nothing costs anything: no schedule is cheaper, up to the price noise that is in the cost."""

    half_spread = impact = 0.0


def test_statistical_checks_of_schedules_that_cost_the_same_raise_no_false_alarm():
    """Of 40 audits of 12 episodes, two alarms of one check would have a probability below 0.001."""
    adapter = replace(ADAPTER, make=Free, cost=lambda env, info: -env.bps(env.gain))
    named = {check.name: check.run for check in CHECKS}
    alarms = {"bursts": 0, "random": 0}
    for number in range(40):
        for name in alarms:
            alarms[name] += named[name](adapter, Settings(12, 1_000 * number)).verdict == "failed"
    assert max(alarms.values()) <= 1


def test_a_cost_that_is_too_noisy_for_halving_is_not_run_and_says_how_many_episodes_would_do():
    found = audit(Sound, cost=lambda env, info: -env.bps(env.gain)).named("halving")
    assert found.verdict == "not run"
    assert re.search(r"try --episodes \d+$", found.evidence)


def test_a_perturbation_without_effect_is_not_run():
    assert audit(Sound, perturb_future=lambda env, k: None).named("future").verdict == "not run"


def test_an_adapter_that_changes_the_past_is_not_blamed_on_the_environment():
    def rounds(env, k):
        env.arrival = env.arrival * (1.0 + 1e-12)

    found = audit(Sound, perturb_future=rounds).named("future")
    assert found.verdict == "not run"
    assert "the adapter changes the past: its change after the last slice moves" in found.evidence


def test_an_order_that_is_not_completed_is_not_compared():
    class Unfinished(Sound):
        def step(self, action):
            result = super().step(0.5 * np.asarray(action))
            self.left += 1.0
            return result

    for name in ("bursts", "random", "halving"):
        finding = audit(Unfinished).named(name)
        assert finding.verdict == "not run"
        assert "shares" in finding.evidence


# --- how an environment is named


def test_every_check_stands_in_the_page():
    for name in (*(check.name for check in CHECKS), *POLICY_CHECKS, *RESULT_CHECKS, "usable", "sessions", *FAULTS):
        assert f"| `{name}` |" in PAGE


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("nothing", {}, "the environment must be MODULE:NAME, got 'nothing'"),
        ("no_such_module:X", {}, "cannot import the module no_such_module"),
        ("hyperexec_env:HyperExec-v1", {}, "did you mean 'HyperExec-v0'"),
        ("hyperexec_env:HyperExec-v0", {"scenario": "regme-day"}, "did you mean 'regime-day'"),
        ("math:pi", {}, "must be an adapter, an environment or a function"),
        ("math:tau", {}, "must be an adapter, an environment or a function"),
        ("builtins:dict", {}, "must make an environment or an adapter, got dict"),
    ],
)
def test_a_wrong_environment_is_one_clear_error(target, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        hx.audit_env(target, options=options)


def test_a_module_of_the_working_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "ADAPTER = Adapter" in block)
    Path("desk_of_the_page.py").write_text(script)
    assert hx.audit_env("desk_of_the_page:ADAPTER", episodes=10).checks("failed") == []
    assert hx.audit_env("desk_of_the_page:Liquidation", options={"slices": 5}, episodes=10).checks("failed") == []
    for adapter in ("desk_of_the_page:ADAPTER", ADAPTER):
        with pytest.raises(ValueError, match="options are for an environment"):
            hx.audit_env(adapter, options={"slices": 5})


def test_the_environment_at_the_touch_has_no_fault():
    """Nothing is hidden there; every other check is made."""
    found = audit_env("hyperexec_env:HyperExecTouch-v0", options={"scenario": "touch-thin"}, episodes=10)
    assert {finding.check: finding.verdict for finding in found.findings} == {
        check.name: "not run" if check.name == "hidden" else "passed" for check in CHECKS
    }


def test_the_environment_with_venues_has_no_fault():
    """Few moves of the price are too few for the foresight check, and nothing is declared to be hidden."""
    found = audit_env("hyperexec_env:HyperExecVenues-v0", options={"scenario": "dark-linear"}, episodes=10)
    assert {finding.check: finding.verdict for finding in found.findings} == {
        check.name: "not run" if check.name in ("hidden", "foresight") else "passed" for check in CHECKS
    }
