"""ONNX files of trained policies: the same actions and costs as the policy, in every kind of policy there is."""

import json
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.onnx_file import load_any_policy, save_onnx
from hyperexec_env.baselines.universal import UniversalPolicy, linearised_policy, universal_names
from hyperexec_env.baselines.universal_in_market import UniversalInMarket, in_market
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.basket_features import ASSET, BASKET
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.touch import HyperExecTouchEnv
from hyperexec_env.envs.touch_features import touch_feature_names
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy
from hyperexec_env.evaluation.network import ACTIVATIONS, NetworkPolicy, save_policy
from hyperexec_env.evaluation.onnx_export import TOLERANCE, run_onnx, to_onnx
from hyperexec_env.evaluation.onnx_policy import load_onnx
from hyperexec_env.evaluation.touch_network import TouchNetworkPolicy
from hyperexec_env.evaluation.venue_network import VenueNetworkPolicy
from hyperexec_env.market.scenario import scenario_names
from hyperexec_env.market.tables import build_market

onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")


def layers_of(*sizes, seed=0, rows=()):
    """Random layers; with `rows`, the first biases have that shape in front."""
    rng = np.random.default_rng(seed)
    made = [
        (rng.normal(0, into**-0.5, (out, into)), rng.normal(0, 0.3, (*(rows if into == sizes[0] else ()), out)))
        for into, out in pairwise(sizes)
    ]
    return tuple((weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in made)


def one_asset(mode, head, outputs=1, activation="tanh"):
    layers = layers_of(len(observation_names()), 9, 7, outputs)
    return NetworkPolicy("one", layers, activation, head, mode, True, 3, {"scenario_hash": "abc"})


def with_beliefs(scenario):
    observed = bool(hx.get_scenario(scenario).unknown)  # else the beliefs are those about the hidden regime
    env = HyperExecEnv(scenario, observe_beliefs=True, observe_regime=observed)
    beliefs = env.observation_names[len(observation_names()) :]
    layers = layers_of(len(env.observation_names), 8, 1)
    return NetworkPolicy("beliefs", layers, "tanh", "tanh", "pace", observed, 0, beliefs=beliefs), env


def many_markets(scenario="regime-day"):
    layers = layers_of(len(universal_names()), 8, 1)
    policy = UniversalPolicy("many", layers, "tanh", "odds", "fraction", True, 0)
    return in_market(policy, build_market(hx.get_scenario(scenario)))


def over_venues(scenario, router):
    env = HyperExecVenuesEnv(scenario, router=router)
    layers = layers_of(env.observation_space.shape[0], 8, env.action_space.shape[0])
    return VenueNetworkPolicy("venues", layers, "tanh", "clip", "pace", True, 0), env


def basket(name="basket-hedged"):
    env = HyperExecBasketEnv(name)
    layers = layers_of(len(BASKET) + len(ASSET), 8, 6, 1, rows=env.action_space.shape)
    return BasketNetworkPolicy("basket", layers, "tanh", "tanh", "pace", True, 0), env


def at_the_touch(name="touch-5min"):
    env = HyperExecTouchEnv(name, action_mode="discrete")
    layers = layers_of(len(touch_feature_names()), 8, int(env.action_space.n))
    return TouchNetworkPolicy("touch", layers, "relu", "argmax", "discrete", True, 0), env


EXAMPLES = {
    NetworkPolicy: {
        f"{mode} {head} {activation}": lambda mode=mode, head=head, outputs=outputs, activation=activation: (
            one_asset(mode, head, outputs, activation),
            HyperExecEnv(action_mode=mode),
        )
        for mode, head, outputs in (
            *(("pace", "clip", 1), ("pace", "tanh", 1), ("fraction", "clip", 1)),
            *(("participation", "tanh", 1), ("discrete", "argmax", 7)),
        )
        for activation in ACTIVATIONS
    }
    | {name: lambda name=name: with_beliefs(name) for name in ("unknown-all", "unknown-drift", "regime-day")},
    BasketNetworkPolicy: {name: lambda name=name: basket(name) for name in ("basket-hedged", "basket-10")},
    TouchNetworkPolicy: {name: lambda name=name: at_the_touch(name) for name in ("touch-5min", "touch-thin")},
    VenueNetworkPolicy: {
        f"{name} {router}": lambda name=name, router=router: over_venues(name, router)
        for name in ("venues-day", "passive-day")
        for router in ("water-filling", "agent")
    },
    UniversalInMarket: {
        name: lambda name=name: (many_markets(name), HyperExecEnv(name, action_mode="fraction"))
        for name in ("regime-day", "desk-5min", "flow-signal", "geo-compat")
    },
}
"""Policies of each kind with an environment in which they trade: a new kind of policy needs a line."""
CASES = [(kind, name) for kind, cases in EXAMPLES.items() for name in cases]


def kinds_below(kind):
    return {kind}.union(*(kinds_below(each) for each in kind.__subclasses__()))


def test_every_kind_of_policy_is_written_as_onnx():
    """The policy of many markets is written for one of them, by `UniversalInMarket`."""
    ours = {kind for kind in kinds_below(NetworkPolicy) if kind.__module__.startswith("hyperexec_env")}
    assert ours == {*EXAMPLES, UniversalPolicy}


@pytest.mark.fast
@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_the_file_has_the_actions_of_the_policy(kind, name):
    policy, _ = EXAMPLES[kind][name]()
    assert type(policy) is kind
    model = to_onnx(policy)
    for rows in (1, 3, 1000):
        given = policy.examples(rows)
        expected, found = policy.action(*given), run_onnx(model, given)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOLERANCE


@pytest.mark.parametrize("kind", [NetworkPolicy, VenueNetworkPolicy, BasketNetworkPolicy], ids=lambda kind: kind.__name__)
def test_of_large_weights_the_actions_are_equal_relative_to_the_terms_that_they_sum_up(kind):
    """Single precision rounds such sums by more than a millionth."""
    policy, _ = next(iter(EXAMPLES[kind].values()))()
    *first, last = policy.layers
    large = replace(policy, layers=(*first, tuple(300.0 * part for part in last)), head="clip")
    given = large.examples(1000)
    assert large.sizes(*given).max() > 100.0
    assert np.all(large.sizes(*given).reshape(1000, -1) >= 0.999 * abs(large.action(*given)).reshape(1000, -1))
    found = run_onnx(to_onnx(large), given)
    assert np.abs(found - large.action(*given)).max() <= TOLERANCE * min(1000.0, large.sizes(*given).max())


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_the_file_costs_what_the_policy_costs_in_its_environment(kind, name, tmp_path):
    policy, env = EXAMPLES[kind][name]()
    save_onnx(policy, tmp_path / "policy.onnx") if kind is not UniversalInMarket else save_onnx(
        policy.policy, tmp_path / "policy.onnx", policy.market.scenario
    )
    session = runtime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    costs = [episode(env, act) for act in (of_session(session), lambda *given: policy.action(*given)[0])]
    assert costs[0] == pytest.approx(costs[1], rel=1e-6, abs=1e-6)


def of_session(session):
    names = [each.name for each in session.get_inputs()]
    return lambda *given: session.run(["action"], dict(zip(names, given, strict=True)))[0][0]


def episode(env, act):
    """Return the objective of an episode of a function of observation (and mask)."""
    observation, info = env.reset(seed=7)
    over = False
    while not over:
        mask = (info["action_mask"][None],) if isinstance(env, HyperExecTouchEnv) else ()
        action = act(observation[None], *mask)
        observation, _, over, _, info = env.step(action if env.action_space.shape != (1,) else np.reshape(action, 1))
    return next(info[name] for name in ("objective_bps", "cost", "objective") if name in info)


def test_a_policy_for_many_markets_costs_in_its_file_what_it_costs_on_a_board():
    geometric = {"base": "regime-day", "name": "geometric", "price_model": "gbm", "perm_impact_gamma": 0.3, "side": -1}
    for name in ("regime-day", "geo-compat", geometric):
        policy = many_markets(name)
        model = to_onnx(policy)
        graph = hx.ObservationPolicy("graph", lambda seen, model=model: run_onnx(model, (seen,)), action_mode="fraction")
        board = hx.evaluate(name, [policy.policy, graph], episodes=50, optimum=False, backend="numpy")
        costs = {row.label: row.objective_bps for row in board.rows}
        assert costs["graph"] == pytest.approx(costs["many (seed 0)"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", scenario_names())
def test_the_baselines_that_are_networks_are_written_for_every_market(scenario, tmp_path):
    pytest.importorskip("safetensors", reason="the policy is stored as safetensors (extra train)")
    for policy in ("universal", "linearised"):
        save_onnx(policy, tmp_path / "policy.onnx", scenario)


def test_the_metadata_says_what_the_file_is(tmp_path):
    policy = one_asset("pace", "clip")
    save_onnx(policy, tmp_path / "policy.onnx")
    session = runtime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about.pop("observation_names")) == list(observation_names())
    assert about == {
        "name": "one",
        "action_mode": "pace",
        "observe_regime": "true",
        "training_seed": "3",
        "algorithm": "",
        "scenario_hash": "abc",
        "digest": policy.digest,
        "hyperexec_env": hx.__version__,
    }
    assert to_onnx(policy) == (tmp_path / "policy.onnx").read_bytes()


def test_a_graph_with_other_actions_is_refused_and_no_file_is_written(tmp_path):
    class Doubled(NetworkPolicy):
        def action(self, observation):
            return 0.5 * super().action(observation)

    given = one_asset("pace", "tanh")
    policy = Doubled(*(getattr(given, item.name) for item in fields(NetworkPolicy)))
    with pytest.raises(ValueError, match=r"policy 'one' has no equal ONNX graph: onnxruntime computes actions that differ by"):
        save_onnx(policy, tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())
    nan = replace(one_asset("pace", "tanh"), layers=((np.full((1, 21), np.nan, np.float32), np.zeros(1, np.float32)),))
    with pytest.raises(ValueError, match="differ by up to nan"):
        to_onnx(nan)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[", "must be a JSON list of features: "),
        ("3", "must be a JSON list of features: features must be a list"),
        ('["time_left", "remainin"]', "must be a JSON list of features: features must be one of remaining, "),
        ('["remaining"]', "must hold 'time_left'"),
        ('["remaining", "time_left"]', r"the first input must be float32 of shape \(n, 2\), got"),
    ],
)
def test_metadata_that_name_other_features_are_refused(names, said):
    model = onnx.load_model_from_string(to_onnx(one_asset("pace", "clip")))
    next(each for each in model.metadata_props if each.key == "observation_names").value = names
    with pytest.raises(ValueError, match=said):
        load_onnx("graph", model.SerializeToString(), "pace", True)


def test_a_price_that_a_predator_moves_unseen_is_refused(tmp_path):
    with pytest.raises(ValueError, match="predator must be 0 for a graph in a geometric price"):
        save_onnx("linearised", tmp_path / "policy.onnx", {"base": "hunted-day", "price_model": "gbm"})


def test_a_policy_for_many_markets_needs_a_market_and_the_others_have_theirs(tmp_path):
    for policy in (linearised_policy(), "linearised"):
        with pytest.raises(ValueError, match="policy 'linearised' trades in many markets: state the scenario of the graph"):
            save_onnx(policy, tmp_path / "policy.onnx")
    with pytest.raises(ValueError, match="trades in many markets: state the scenario"):
        to_onnx(linearised_policy())
    with pytest.raises(ValueError, match="policy 'one' has the market of its training: leave the scenario out, got 'spy'"):
        save_onnx(one_asset("pace", "clip"), tmp_path / "policy.onnx", "spy")


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind is not UniversalInMarket], ids=lambda kind: kind.__name__)
def test_a_folder_of_any_kind_of_policy_is_read(kind, tmp_path):
    pytest.importorskip("safetensors", reason="the policy is stored as safetensors (extra train)")
    policy, _ = next(iter(EXAMPLES[kind].values()))()
    save_policy(policy, tmp_path)
    read = load_any_policy(tmp_path)
    assert type(read) is kind
    assert read.digest == policy.digest
    save_onnx(str(tmp_path), tmp_path / "policy.onnx")
    assert (tmp_path / "policy.onnx").read_bytes() == to_onnx(policy)


def test_a_folder_without_a_policy_is_named(tmp_path):
    pytest.importorskip("safetensors", reason="the policy is stored as safetensors (extra train)")
    for text in (None, "[]", "{", '{"observation_names": 3}'):
        if text is not None:
            (tmp_path / "policy.json").write_text(text)
            (tmp_path / "policy.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=str(tmp_path)):
            load_any_policy(tmp_path)


@pytest.mark.parametrize("name", ["TWAP", "replan", "belief-grid"])
def test_a_policy_that_is_no_network_is_named(name, tmp_path):
    with pytest.raises(
        ValueError, match=f"must be the folder of a network, or universal or linearised, got '{name}', which is"
    ):
        save_onnx(name, tmp_path / "policy.onnx", "regime-day")


SUBMITTED = {
    "regime-day": lambda: one_asset("discrete", "argmax", 7),
    "unknown-all": lambda: with_beliefs("unknown-all")[0],
    "trending-day": lambda: with_beliefs("trending-day")[0],
}


@pytest.mark.parametrize("scenario", SUBMITTED)
def test_a_submission_of_the_file_costs_what_the_policy_costs(scenario, tmp_path):
    policy = SUBMITTED[scenario]()
    save_onnx(policy, tmp_path / "policy.onnx")
    card = f'name = "graph"\nauthors = ["A"]\nmethod = "m"\nlicence = "MIT"\naction_mode = "{policy.action_mode}"\n'
    card += f"observe_regime = {str(policy.observe_regime).lower()}\n"
    (tmp_path / "card.toml").write_text(card)
    packed = tmp_path / "graph.submission.zip"
    hx.pack_folder(str(tmp_path), str(packed))
    board = hx.evaluate(scenario, [policy, str(packed)], episodes=20, optimum=False, backend="numpy")
    graph, other = sorted((row.policy != "graph", row.objective_bps) for row in board.rows)
    assert graph[1] == pytest.approx(other[1], rel=1e-6)
