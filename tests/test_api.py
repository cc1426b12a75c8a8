"""The public API: `import hyperexec_env as hx` offers what a user needs, and a scenario may be given in four forms."""

import ast
import importlib
import inspect
import pkgutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines import evaluate as evaluation
from hyperexec_env.baselines.closed_forms import almgren_chriss, almgren_chriss_shift, bertsimas_lo_percentage, gatheral_schied
from hyperexec_env.baselines.estimate import impact_in
from hyperexec_env.baselines.stealth import study
from hyperexec_env.evaluation.comparison import judge, play
from hyperexec_env.market.scenarios import scenario_or_basket
from hyperexec_env.training import dqn, pathwise, ppo, sac

NAME = "almgren-chriss"
ORDER = hx.ParentOrder(symbol="X", side=-1, quantity=1_000_000, arrival_price=50.0)


def test_the_type_checker_and_the_table_know_the_same_names():
    tree = ast.parse(Path(hx.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ours = [node for node in block.body if node.module.startswith("hyperexec_env.")]
    seen = {alias.asname: f"{node.module}.{alias.name}" for node in ours for alias in node.names}
    assert seen == {name: f"hyperexec_env.{module}.{name}" for name, module in hx._MODULES.items()}


def test_every_name_is_there_and_is_listed():
    for name in hx.__all__:
        assert getattr(hx, name) is not None
        assert name in dir(hx)


def test_no_name_hides_a_module():
    modules = {found.name for found in pkgutil.iter_modules(hx.__path__)} | {"baselines", "training"}
    assert not modules & set(hx.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hyperexec_env' has no attribute 'sovle'"):
        _ = hx.sovle
    assert not hasattr(hx, "sovle")


def test_make_prefills_the_environment():
    single, batch = hx.make("mid-cap", action_mode="fraction"), hx.make_vec("mid-cap", num_envs=3, backend="numpy")
    assert single.spec.id == batch.spec.id == "HyperExec-v0"
    assert single.unwrapped.task.mode.name == "fraction"
    assert batch.num_envs == 3
    assert np.array_equal(single.reset(seed=4)[0], batch.reset(seed=4)[0][0])
    assert hx.make().unwrapped.task.market.scenario == hx.get_scenario("regime-day")


# --- four forms of a scenario


def forms(folder):
    """The scenario in every form."""
    path = folder / "mine.toml"
    path.write_text(hx.get_scenario(NAME).to_toml())
    record = hx.get_scenario(NAME)
    return {"name": NAME, "dict": {"base": NAME, "name": NAME}, "text": str(path), "path": path, "record": record}


def board(scenario):
    return hx.evaluate(scenario, ["TWAP", "AC"], episodes=10, backend="numpy").to_json()


def refused(message, function, *given, **options):
    """Call what takes long with something that is refused once the scenario is known; return what was said."""
    with pytest.raises(ValueError, match=message) as error:
        function(*given, **options)
    if "unknown scenario" in str(error.value):
        raise error.value
    return str(error.value)


def leaderboard(scenario):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    return refused("scenario names must differ|unknown", hx.leaderboard, [scenario, scenario])


def bundled(scenario, folder):
    (folder / "policy.py").write_text("def decide(p, s): return s.remaining / (s.market.slices - s.k)\n")
    (folder / "card.toml").write_text('name = "Even"\nauthors = ["A"]\nmethod = "equal slices"\nlicence = "MIT"\n')
    return refused("which is not run|unknown", hx.make_bundle, folder, scenario, policies=(), episodes=4)


def trained(method, scenario, folder, **options):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    policy = method.train(method.Args(scenario=scenario, hidden=4, out=str(folder / "run"), progress=False, **options))
    return hx.load_policy(folder / "run").digest, policy.about["scenario_hash"]


def off_policy(method, scenario, folder):
    options = {"timesteps": 20, "lanes": 2, "learning_starts": 5, "batch_size": 2, "buffer_size": 50, "gradient_steps": 1}
    return trained(method, scenario, folder, tensorboard=False, **options)


TWAP = hx.get_policy("TWAP")
JUDGED = {"episodes": 4, "seed": 0, "backend": "numpy"}
FEW = SimpleNamespace(dates=(), bar_minutes=5, has_volume=True)
"""No sessions of bars."""


def graph_of(scenario, file):
    """Return the content of an ONNX file."""
    hx.get_scenario(scenario)
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    hx.save_onnx("linearised", file, scenario)
    return file.read_bytes()


TAKERS = {
    "HyperExecEnv": lambda scenario, _: hx.HyperExecEnv(scenario=scenario).reset(seed=1)[0].tolist(),
    "HyperExecVectorEnv": lambda scenario, _: hx.HyperExecVectorEnv(2, scenario=scenario).reset(seed=1)[0].tolist(),
    "make": lambda scenario, _: hx.make(scenario).reset(seed=1)[0].tolist(),
    "make_vec": lambda scenario, _: hx.make_vec(scenario, 2).reset(seed=1)[0].tolist(),
    "get_scenario": lambda scenario, _: hx.get_scenario(scenario),
    "solve": lambda scenario, _: hx.solve(scenario).optimum_bps,
    "solve_interval": lambda scenario, _: refused("has no posterior|unknown", hx.solve_interval, scenario),
    "optimum": lambda scenario, _: importlib.import_module("hyperexec_env.baselines.solver").optimum(scenario).optimum_bps,
    "save_onnx": lambda scenario, folder: graph_of(scenario, folder / "x.onnx"),
    "known_optimum": lambda scenario, _: hx.known_optimum(scenario).optimum_bps,
    "schedule_bps": lambda scenario, _: hx.schedule_bps(scenario, [0.4, 0.3, 0.1, 0.1, 0.1]),
    "card": lambda scenario, _: hx.card(scenario).to_dict(),
    "certify": lambda scenario, _: hx.certify(scenario, trips=1000).to_dict(),
    "check_scenario": lambda scenario, _: hx.check_scenario(scenario, trips=1000),
    "evaluate": lambda scenario, _: board(scenario),
    "entrants": lambda scenario, _: [each.policy.name for each in hx.entrants("all", scenario)],
    "reference_of": lambda scenario, _: evaluation.reference_of(scenario).name,
    "scenario_or_basket": lambda scenario, _: scenario_or_basket(scenario),
    "resolution": lambda scenario, _: evaluation.resolution(scenario, "AC"),
    "announce": lambda scenario, _: evaluation.announce(scenario, "TWAP", 10, 0),
    "audit_policy": lambda scenario, _: hx.audit_policy("TWAP", scenario=scenario, episodes=50).to_dict(),
    "judge": lambda scenario, _: judge(scenario, hx.entrants("AC"), TWAP, **JUDGED).to_json(),
    "play": lambda scenario, _: play(scenario, hx.entrants("AC"), TWAP, **JUDGED)[1].statement.objective.tolist(),
    "estimate": lambda scenario, _: hx.estimate(scenario, algorithms="TWAP").to_dict(),
    "impact_in": lambda scenario, _: impact_in(scenario, ORDER),
    "estimate_schedule": lambda scenario, _: hx.estimate_schedule(ORDER, scenario, algorithm="TWAP").mean_bps,
    "OnlineEstimates": lambda scenario, _: hx.OnlineEstimates(scenario).to_dict(),
    "planned_shares": lambda scenario, _: hx.planned_shares(ORDER, scenario, "AC"),
    "realism": lambda scenario, _: refused("at least five sessions|unknown", hx.realism, scenario, FEW),
    "bracket_hidden": lambda scenario, _: hx.bracket_hidden(scenario, 2).policy_bps,
    "frontier": lambda scenario, _: hx.frontier(scenario, ("TWAP", "AC"), (1.0,), 4).to_dict(),
    "study": lambda scenario, _: refused("episodes must|unknown", study, scenario, episodes=1),
    "leaderboard": lambda scenario, _: leaderboard(scenario),
    "make_bundle": lambda scenario, folder: bundled(scenario, folder),
    "ppo": lambda scenario, folder: trained(
        ppo, scenario, folder, timesteps=10, lanes=2, steps=5, batch_size=10, epochs=1, tensorboard=False
    ),
    "sac": lambda scenario, folder: off_policy(sac, scenario, folder),
    "dqn": lambda scenario, folder: off_policy(dqn, scenario, folder),
    "pathwise": lambda scenario, folder: trained(pathwise, scenario, folder, steps=1, lanes=2, validation=2),
}
"""Everything public that takes a scenario, and what it makes of it."""


@pytest.mark.parametrize("taker", TAKERS)
def test_a_scenario_is_a_name_a_dict_a_path_or_a_record(taker, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # to compile takes longer than all of these together
    made = {}
    for form, scenario in forms(tmp_path).items():
        (tmp_path / form).mkdir()
        made[form] = TAKERS[taker](scenario, tmp_path / form)
    for form, result in made.items():
        assert result == made["record"], form


def test_an_unknown_scenario_is_named_with_the_nearest_one(tmp_path):
    for taker in TAKERS:
        with pytest.raises(ValueError, match="unknown scenario 'almgren-chris'; did you mean 'almgren-chriss'"):
            TAKERS[taker]("almgren-chris", tmp_path)


INSIDE = {
    *("check_draws", "draw_of", "draws_of", "known_posterior", "stated_by"),  # what Scenario.draw calls
    *("build_draws", "with_bar_draws", "with_draws", "with_order_draws", "with_tape_draws"),  # environments, calibrations
    *("register_scenario", "build_market", "market_of", "geometric", "cell_of"),
    *("file_name", "run_folder", "claimed_folder", "make_env", "begun", "build_model", "plain_args", "learn", "trained_policy"),
    *("build_task", "build_basket_task", "build_touch_task", "build_venue_task"),  # what both environments call
    "facts_on_card",  # what the card calls
    *("day_prior", "evidence_of", "impact_prior", "typical_participation"),  # what a desk learns from
    *("result_files", "save_scenario", "scenario_files"),  # the files of a command
    *("described_sources", "sources_of"),  # lines of a board and of a card
    *("check_trades", "known_policies", "named_policy"),  # what a bundle calls
    *("end_corners", "prior_ends", "told_market"),  # what a certificate and the solver call
    "bench_of",  # what the study of hiding calls
}
"""Functions that are called with the record: they are not for users, or a record is what they are about."""


def public_functions():
    """Every public function of the package with a parameter that is a scenario."""
    for found in pkgutil.walk_packages(hx.__path__, "hyperexec_env."):
        if ".cli" not in found.name:
            yield from _functions(found.name)
    for package in ("baselines", "training"):
        folder = importlib.import_module(f"hyperexec_env.{package}").__path__
        for found in pkgutil.walk_packages(folder, f"hyperexec_env.{package}."):
            yield from _functions(found.name)


def _functions(module):
    try:
        loaded = importlib.import_module(module)
    except ImportError:  # an extra that is not installed
        return
    for name in getattr(loaded, "__all__", ()):
        value = getattr(loaded, name)
        if inspect.isfunction(value) and {"scenario", "scenarios"} & set(inspect.signature(value).parameters):
            yield name, value


def test_every_public_function_that_takes_a_scenario_is_tried():
    taking = dict(public_functions())
    assert {"solve", "certify", "evaluate", "planned_shares", "study"} <= set(taking)
    assert {name for name in taking if name not in INSIDE and name not in TAKERS} == set()
    for name in set(taking) - INSIDE:
        assert any("ScenarioLike" in str(hint) for hint in taking[name].__annotations__.values()), name


# --- evaluate: what may take part


class Patient:
    name = "Patient"

    def act(self, situation):
        return 0.5 * situation.remaining / (situation.market.slices - situation.k)


def judged(policies, **options):
    made = hx.evaluate(NAME, policies, episodes=4, optimum=False, backend="numpy", **options)
    return sorted(row.policy for row in made.rows)


def _bertsimas_lo(**changes):
    return replace(bertsimas_lo_percentage.EXAMPLE, **changes)


FRACTIONS = {
    "volatility of an order": lambda given: replace(ORDER, volatility=given),
    "volatility of an estimate": lambda given: hx.estimate_impact(1_000, 50.0, given, 1e5, 1e6),
    "volatility of a fit": lambda given: hx.almgren_2005(given, 263.0),
    "volatility of a geometric price": lambda given: replace(gatheral_schied.EXAMPLE, volatility=given),
    "volatility of a log price": lambda given: _bertsimas_lo(sigma_z=given),
    "growth of a log price": lambda given: _bertsimas_lo(mu_z=given),
    "cap of a scenario": lambda given: hx.Scenario(max_participation=given),
    "cap of the desk": lambda given: hx.ExecutionConfig(max_participation_rate=given),
    "share of the variance": lambda given: hx.Scenario(flow_share=given),
    "transition matrix": lambda given: hx.Regimes.from_transition([[given, 100.0 - given], [50.0, 50.0]], 26.0),
    "branches of an event": lambda given: replace(almgren_chriss_shift.EXAMPLE, probabilities=(given, 100.0 - given)),
    "confidence": lambda given: almgren_chriss.liquidity_var(almgren_chriss.EXAMPLE, given),
    "quantile": lambda given: hx.estimate_schedule(ORDER, NAME, algorithm="TWAP").quantile(given),
    "schedule": lambda given: hx.schedule_bps("almgren-chriss", [given] * 5),
    "fractions": lambda given: hx.schedule_bps("almgren-chriss", fractions=[given] * 5),
}


@pytest.mark.parametrize("name", FRACTIONS)
def test_a_percentage_is_refused_with_the_fraction_to_pass(name):
    with pytest.raises(ValueError, match=r"got 20.0; for 20 % pass 0.2$"):
        FRACTIONS[name](20.0)


@pytest.mark.parametrize("name", ["volatility of an order", "volatility of an estimate", "volatility of a fit"])
def test_a_small_volatility_in_percent_is_refused_too(name):
    with pytest.raises(ValueError, match=r"got 1.57; for 1.57 % pass 0.0157$"):
        FRACTIONS[name](1.57)


def test_policies_are_names_groups_objects_or_entrants():
    assert judged("twap") == ["TWAP"]
    assert judged(Patient()) == ["Patient"]
    assert judged(["TWAP", "twap", Patient(), hx.Entrant(hx.get_policy("AC"), hidden=True)]) == ["AC", "Patient", "TWAP"]
    assert judged([hx.get_policy("TWAP"), "TWAP", hx.get_policy("TWAP")]) == ["TWAP"]
    assert judged(iter(["TWAP"])) == ["TWAP"]
    assert set(judged("baselines")) < set(judged("all"))


def test_a_sanity_policy_is_one_as_an_object_too():
    (named,), (given,) = hx.entrants("random"), hx.entrants([hx.get_policy("random")])
    assert named.sanity
    assert given.sanity
    patient = Patient()
    patient.name = "random"
    assert not hx.entrants(patient)[0].sanity


def test_a_trained_policy_is_a_folder_or_an_object(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    network = hx.load_policy(Path(__file__).parent / "data" / "ppo-regime-day")
    hx.save_policy(network, tmp_path)
    for given in (network, tmp_path, str(tmp_path)):
        (entrant,) = hx.entrants(given)
        assert (entrant.training_seed, entrant.hidden) == (network.training_seed, not network.observe_regime)
    assert hx.entrants(replace(network, observe_regime=False))[0].hidden


def test_two_policies_of_one_name_are_refused():
    other = Patient()
    other.name = "TWAP"
    with pytest.raises(ValueError, match="policies must have different names, got two called 'TWAP'"):
        hx.evaluate(NAME, ["TWAP", other], episodes=4)
    with pytest.raises(ValueError, match="got two called 'Patient'"):
        hx.evaluate(NAME, [Patient(), Patient()], episodes=4)


@pytest.mark.parametrize("wrong", [3, ["TWAP", None], [object()]])
def test_what_is_no_policy_is_a_type_error(wrong):
    with pytest.raises(TypeError, match=r"policies must be names|not iterable"):
        hx.evaluate(NAME, wrong, episodes=4)


def test_a_whole_float_counts_episodes():
    assert judged("TWAP", seed=1.0, threads=1.0) == ["TWAP"]
    given = hx.evaluate(NAME, "TWAP", episodes=4.0, optimum=False, backend="numpy")
    assert given.to_json() == hx.evaluate(NAME, "TWAP", episodes=4, optimum=False, backend="numpy").to_json()


def test_the_optimum_is_solved_for_is_given_or_is_left_out():
    solved = hx.evaluate(NAME, "TWAP", episodes=4, backend="numpy")
    given = hx.evaluate(NAME, "TWAP", episodes=4, backend="numpy", optimum=hx.known_optimum(NAME))
    assert solved.optimum.optimum_bps == given.optimum.optimum_bps == hx.solve(NAME).optimum_bps
    assert hx.evaluate(NAME, "TWAP", episodes=4, backend="numpy", optimum=False).optimum is None


@pytest.mark.parametrize(
    "call",
    [
        lambda seed: hx.make(NAME).reset(seed=seed),
        lambda seed: hx.make_vec(NAME, num_envs=1).reset(seed=seed),
        lambda seed: hx.make_vec(NAME, num_envs=1).reset(seed=[seed]),
        lambda seed: hx.evaluate(NAME, "TWAP", episodes=2, seed=seed),
        lambda seed: hx.leaderboard(NAME, seed=seed),
        lambda seed: hx.certify(NAME, seed=seed),
        lambda seed: hx.estimate(NAME, seed=seed),
        lambda seed: hx.estimate_schedule(ORDER, NAME, seed=seed),
        lambda seed: study(NAME, seed=seed),
        lambda seed: hx.frontier(NAME, ("TWAP",), seed=seed),
        lambda seed: hx.ExecutionAgent(seed=seed),
        *(
            lambda seed, train=script.train, args=script.Args: train(args(scenario=NAME, seed=seed))
            for script in (ppo, pathwise)
        ),
    ],
)
@pytest.mark.parametrize("seed", [True, -1])
def test_a_seed_is_refused_everywhere_unless_it_is_a_whole_number(call, seed):
    with pytest.raises(ValueError, match=rf"^seed must be a whole number.*, got {seed}$"):
        call(seed)
