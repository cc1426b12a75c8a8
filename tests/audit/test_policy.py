"""The audit of a policy: ours pass, and each fault is caught by the check of its name and by no other."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.audit import policy as module
from hyperexec_env.audit.policy import POLICY_CHECKS
from hyperexec_env.market.scenario import get_scenario

TRAINED = Path(__file__).parents[1] / "data" / "ppo-regime-day"
EPISODES = 200


def audit(policy, **options):
    return hx.audit_policy(policy, **{"episodes": EPISODES, **options})


@pytest.mark.parametrize("name", ["TWAP", "VWAP", "IS", "AC", "POV", "Adaptive", "desk:Adaptive"])
def test_our_baselines_pass(name):
    found = audit(name)
    assert found.checks("failed") == [], str(found)
    assert {"shares", "repeatable", "batch", "memory", "future", "sanity"} <= set(found.checks("passed"))


def test_a_trained_policy_passes_as_a_folder_and_as_a_file(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    found = audit(TRAINED)
    assert found.checks("failed") == [], str(found)
    assert found.checks("not run") == ["hidden"]
    assert audit(TRAINED / "policy.json").to_dict() == found.to_dict()
    assert re.search(r"TWAP -\d", found.named("sanity").evidence)


def test_a_policy_that_does_not_observe_the_regime_passes_the_check_of_it():
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    blind = replace(hx.load_policy(TRAINED), observe_regime=False)
    assert audit(blind).named("hidden").verdict == "passed"


class Follower:
    """A policy that reads the probabilities of the regimes."""

    name, follows_regimes = "follower", True

    def act(self, situation):
        calm = 1.0 - 0.5 * situation.regime_probability_CRISIS
        return calm * situation.remaining / (situation.market.slices - situation.k)


def test_a_policy_that_follows_the_regimes_passes():
    found = audit(hx.Entrant(Follower(), hidden=True))
    assert found.checks("failed") == [], str(found)
    assert {"batch", "future", "hidden"} <= set(found.checks("passed"))


def test_a_class_is_made_by_module_and_name_and_refused_as_an_object(tmp_path, monkeypatch):
    (tmp_path / "own_policies.py").write_text(
        "class Whole:\n    name = 'whole'\n    def act(self, situation):\n        return situation.remaining\n"
        "class Named(Whole):\n    def __init__(self):\n        self.name = 'named'\n"
        "ready = Named()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, label in (("Whole", "whole"), ("Named", "named"), ("ready", "named")):
        assert module.find_policy(f"own_policies:{name}").policy.name == label
    assert audit("own_policies:Whole").named("shares").verdict == "passed"
    with pytest.raises(TypeError, match=r"policies must be names, .* got the class Follower"):
        hx.evaluate("regime-day", [Follower], episodes=2)


class Steady:
    """TWAP, from which the broken policies differ."""

    name = "steady"

    def act(self, situation):
        return situation.remaining / (situation.market.slices - situation.k)


class Unseeded(Steady):
    rng = np.random.default_rng(0)

    def act(self, situation):
        return super().act(situation) * self.rng.uniform(0.9, 1.1)


class ByTheBatch(Steady):
    """Trades more where the price is above the mean of the batch."""

    def act(self, situation):
        price = np.asarray(situation.price)
        return super().act(situation) * (1.0 + 0.1 * np.sign(price - price.mean()))


class Unforgetting(Steady):
    """Counts its slices, over all episodes."""

    count = 0

    def act(self, situation):
        self.count = self.count + 1 if situation.k else min(self.count, 3)
        return super().act(situation) * (1.0 + 0.01 * self.count)


class Hoards(Steady):
    """Loses to everybody: trades in the last slice."""

    def act(self, situation):
        return situation.remaining * (situation.k == situation.market.slices - 1)


class NotFinite(Steady):
    def act(self, situation):
        return super().act(situation) * (np.nan if situation.k == 7 else 1.0)


class Peeks(Steady):
    """Has got hold of the paths of the market, by their drawing."""

    paths = ()

    def act(self, situation):
        ahead = next((path for path in self.paths if path.world.price.shape[1] == np.size(situation.price)), None)
        k = int(np.max(situation.k))
        up = 0.0 if ahead is None else np.sign(ahead.world.price[k + 1] - ahead.world.price[k])
        return super().act(situation) * (1.0 + 0.1 * up)


@pytest.mark.parametrize(
    ("policy", "checks"),
    [
        (Steady(), set()),
        (ByTheBatch(), {"batch"}),
        (Hoards(), {"sanity"}),
        (hx.get_policy("wait-then-dump"), {"sanity"}),
        (NotFinite(), {"shares"}),
        (Unforgetting(), {"memory", "repeatable", "batch", "future"}),
    ],
    ids=lambda value: getattr(value, "name", None) and type(value).__name__,
)
def test_a_broken_policy_is_caught(policy, checks):
    assert set(audit(policy).checks("failed")) == checks, str(audit(policy))


def test_an_unseeded_policy_is_not_repeatable():
    assert "repeatable" in audit(Unseeded()).checks("failed")


class PeeksAtTheRegime(Peeks):
    """Has got hold of the regime that it does not observe."""

    def act(self, situation):
        now = next((path for path in self.paths if path.world.price.shape[1] == np.size(situation.price)), None)
        calm = True if now is None else now.world.regime[int(situation.k)] != 4
        return Steady.act(self, situation) * np.where(calm, 1.0, 0.5)


@pytest.mark.parametrize(("policy", "hidden", "check"), [(Peeks(), False, "future"), (PeeksAtTheRegime(), True, "hidden")])
def test_a_policy_that_peeks_at_the_path_is_caught(policy, hidden, check, monkeypatch):
    """The path of each roll is handed to it, as a careless evaluation might."""
    original = module.roll

    def careless(market, policy, path, *rest):
        if hasattr(policy, "situations"):
            policy.policy.paths = (path,)
        return original(market, policy, path, *rest)

    monkeypatch.setattr(module, "roll", careless)
    assert check in audit(hx.Entrant(policy, hidden=hidden)).checks("failed")


def test_a_rule_with_a_memory_is_no_function():
    class Alternates(hx.RulePolicy):
        """A rule by its methods, whose act depends on how often it was asked."""

        name, asked = "alternates", 0

        def rule(self, market, hidden):
            return hx.get_policy("TWAP").rule(market, hidden)

        def act(self, situation):
            self.asked = 0 if situation.k == 0 else self.asked + 1
            return super().act(situation) * (1.0 + 0.01 * (self.asked % 2))

    assert audit(Alternates()).checks("failed") == ["function"]


def test_nothing_else_is_said_of_a_policy_that_fails():
    found = audit(NotFinite())
    assert found.checks("not run") == list(POLICY_CHECKS)[1:]
    assert "must return finite shares" in found.named("shares").evidence


def test_a_record_of_the_training_that_names_another_seed_is_caught():
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    found = audit(replace(hx.load_policy(TRAINED), training_seed=5))
    assert found.checks("failed") == ["training"]


def test_a_policy_on_another_market_says_so():
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    found = audit(TRAINED, scenario="crisis-day")
    assert "trained on another market" in found.named("training").evidence
    assert get_scenario("crisis-day").name in found.subject


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.zip", b"PK\x03\x04"),
        ("model.pkl", b"\x80\x04\x95"),
        ("model", b"\x80\x02"),
        ("model.pt", b"x"),
        ("model", b"PK"),
    ],
)
def test_a_file_of_pickles_is_not_opened(name, content, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("hyperexec_env.audit.policy.entrants", lambda given: pytest.fail("opened"))
    with pytest.raises(ValueError, match="which is not opened: a pickle runs code when it is read"):
        audit(tmp_path / name)


def test_what_is_no_policy_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "notes.txt").write_text("no policy")
    with pytest.raises(ValueError, match="is no policy; give a folder"):
        audit(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="did you mean 'TWAP'"):
        audit("TWPA")
    with pytest.raises(ValueError, match="must be one policy, got 6"):
        audit("baselines")
    with pytest.raises(ValueError, match="the module math has no policy"):
        audit("math:policy")
    monkeypatch.chdir(tmp_path)
    Path("mine_to_audit.py").write_text("import hyperexec_env as hx\n\ndef steady():\n    return hx.get_policy('TWAP')\n")
    assert audit("mine_to_audit:steady").checks("failed") == []


def test_a_folder_with_a_pickle_beside_is_read_without_it(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    shutil.copytree(TRAINED, tmp_path / "policy")
    (tmp_path / "policy" / "model.pkl").write_bytes(b"\x80\x04\x95")
    assert audit(tmp_path / "policy").checks("failed") == []
