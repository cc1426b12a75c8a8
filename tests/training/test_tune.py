"""Tuning: batches of proposals, successive halving, and a study that is stopped and continued."""

import json
import multiprocessing
import os
import shlex
import signal
import threading
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
pytest.importorskip("optuna", reason="needs the extra `tune`")

from hyperexec_env import cli
from hyperexec_env.arguments import Parser, add_arguments, parse
from hyperexec_env.baselines.evaluate import check_evaluation, known_optimum
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.rollout import paths_of, roll_on
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.training import pathwise, tune, validation_gap
from hyperexec_env.training.adapter import TRAINING_SEEDS
from hyperexec_env.training.interruption import Interrupted
from hyperexec_env.training.search_space import distributions, names_and_texts

pytestmark = pytest.mark.usefixtures("without_numba")

TINY = tune.Args(
    "pathwise",
    "almgren-chriss",
    trials=8,
    batch=4,
    rungs=2,
    reduction=2,
    episodes=32,
    vary=("learning_rate=1e-3..0.3", "hidden=2,3"),
    set=("steps=4", "lanes=4", "validation=4", "validate_every=1", "checkpoint_every=1"),
    progress=False,
)


def tuned(folder, **changes):
    return tune.tune(replace(TINY, out=str(folder), **changes))


def trials(result):
    return [trial._asdict() for trial in result.trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that was not stopped, and its folder."""
    folder = tmp_path_factory.mktemp("study")
    return tuned(folder), folder


def test_the_best_half_of_each_batch_is_trained_with_the_whole_budget_and_the_others_are_pruned(whole):
    result, _ = whole
    for batch in (result.trials[:4], result.trials[4:]):
        ranked = sorted(batch, key=lambda trial: trial.values[0])
        assert [len(trial.values) for trial in ranked] == [2, 2, 1, 1]
    assert result.best.values[-1] == min(trial.values[1] for trial in result.trials if len(trial.values) == 2)
    assert "8 trials: 4 trained with the whole budget, 4 pruned, 0 failed" in str(result)
    assert len({str(trial.parameters) for trial in result.trials}) > 4


def test_a_rung_has_its_part_of_the_budget(whole):
    result, folder = whole
    number = result.best.number
    for rung, steps in enumerate((2, 4)):
        policy = load_policy(folder / "trials" / f"{number:04d}" / f"rung-{rung}-seed-0")
        assert policy.about["steps"] == steps
        assert not (folder / "trials" / f"{number:04d}" / f"rung-{rung}-seed-0" / "checkpoints").exists()


def test_the_value_of_a_trial_is_its_gap_to_the_optimum_on_the_validation_episodes(whole):
    result, folder = whole
    policy = load_policy(folder / "trials" / f"{result.best.number:04d}" / "rung-1-seed-0")
    scenario = get_scenario("almgren-chriss")
    market, known = build_market(scenario), known_optimum(scenario)
    paths = paths_of(market, episode_keys(validation_gap.VALIDATION_SEED, np.arange(32), board=True))
    own, best = (np.asarray(roll_on(market, each, paths).statement.objective) for each in (policy, known.policy))
    assert result.best.unit == "gap, % of J*"
    assert result.best.values[-1] == pytest.approx(100.0 * (own - best).mean() / known.optimum_bps, rel=1e-9)


@pytest.mark.fast
def test_no_training_and_no_board_meets_the_validation_episodes():
    most = 2**19 - 1  # the largest training seed
    assert TRAINING_SEEDS + 2**20 * most + 2**20 < validation_gap.VALIDATION_SEED
    assert pathwise._SEEDS + 2 * most + 1 < validation_gap.VALIDATION_SEED
    with pytest.raises(ValueError, match="seed must be a whole number"):
        check_evaluation(10, validation_gap.VALIDATION_SEED)


def test_best_json_and_the_command_lines_have_the_parameters_of_the_best_trial(whole):
    result, folder = whole
    best = json.loads((folder / "best.json").read_text())
    assert best["best"]["parameters"] == result.best.parameters
    words = shlex.split(best["command"])
    assert words[:3] == ["hyperexec", "train", "pathwise"]
    parser = Parser()
    add_arguments(parser, pathwise.Args)
    args = parse(pathwise.Args, parser.parse_args(words[3:]))
    chosen = {name: getattr(args, name) for name in result.best.parameters}
    assert (chosen, args.steps, args.lanes, args.seed) == (result.best.parameters, 4, 4, 1)
    assert result.command in str(result)
    assert "optimistic" in str(result)


def test_a_study_that_is_continued_is_that_of_one_run(whole, tmp_path):
    tuned(tmp_path, trials=4)
    assert trials(tuned(tmp_path)) == trials(whole[0])


def test_a_finished_study_trains_nothing(whole, monkeypatch):
    result, folder = whole
    before = (folder / "best.json").read_bytes(), (folder / "journal.log").read_bytes()
    monkeypatch.setattr(tune, "_trained", lambda *args: pytest.fail("trained"))
    assert trials(tuned(folder)) == trials(result)
    assert ((folder / "best.json").read_bytes(), (folder / "journal.log").read_bytes()) == before


def test_a_training_that_is_interrupted_goes_on_from_its_checkpoint(whole, tmp_path, monkeypatch, capsys):
    learn, count = pathwise.Trainer.learn, []

    def interrupted(self):
        count.append(self.step)
        if len(count) == 23:  # in the second batch
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self)

    monkeypatch.setattr(pathwise.Trainer, "learn", interrupted)
    with pytest.raises(Interrupted):
        tuned(tmp_path)
    assert "the same command of hyperexec tune continues it" in capsys.readouterr().err
    assert len((tmp_path / "journal.log").read_text().splitlines()) == 2 + 4
    assert trials(tuned(tmp_path)) == trials(whole[0])
    assert "resumed from the checkpoint" in capsys.readouterr().err
    with (tmp_path / "best.json").open() as ours, (whole[1] / "best.json").open() as other:
        assert json.load(ours)["best"] == json.load(other)["best"]


def test_a_line_of_the_journal_that_a_killed_process_left_half_written_is_written_again(whole, tmp_path):
    tuned(tmp_path)
    journal = tmp_path / "journal.log"
    content = journal.read_bytes()
    journal.write_bytes(content[:-40])
    (tmp_path / "journal.log.lock").touch()  # of the process that died
    assert trials(tuned(tmp_path)) == trials(whole[0])
    assert journal.read_bytes().count(b"\n") == content.count(b"\n")


def test_training_seeds_are_averaged(whole, tmp_path):
    result = tuned(tmp_path, seeds=2, trials=4, rungs=1)
    first = tuned(tmp_path / "one", trials=4, rungs=1)
    assert [trial.parameters for trial in result.trials] == [trial.parameters for trial in first.trials]
    policies = [load_policy(tmp_path / "trials" / "0000" / f"rung-0-seed-{seed}") for seed in (0, 1)]
    values = [validation_gap.validation_gap(policy, get_scenario("almgren-chriss"), 32)[0] for policy in policies]
    assert result.trials[0].values == (pytest.approx(np.mean(values)),)


def test_a_trial_with_invalid_options_fails_with_its_reason_and_the_others_go_on(tmp_path):
    vary, fixed = ("lanes=1,4", "hidden=2,3"), tuple(word for word in TINY.set if "lanes" not in word)
    result = tuned(tmp_path, vary=vary, set=fixed, trials=4)
    assert {trial.parameters["lanes"] for trial in result.trials} == {1, 4}
    for trial in result.trials:
        assert bool(trial.reason) == (trial.parameters["lanes"] == 1)
    assert "failed: lanes must be a whole number in [2, 1048576], got 1" in str(result)
    assert None not in [value for trial in result.to_dict()["trials"] for value in trial["values"]]
    assert trials(tuned(tmp_path, vary=vary, set=fixed, trials=4)) == trials(result)
    with pytest.raises(ValueError, match="every trial of a batch failed, trial 0 because lanes must be"):
        tuned(tmp_path / "none", vary=("lanes=1", "hidden=2,3"), set=fixed)


def test_a_diverged_training_counts_as_infinite(tmp_path, monkeypatch):
    trained = tune._trained

    def diverges(algorithm, options, problem):
        if "0001" in options.out:
            raise tune.Diverged("training diverged")
        return trained(algorithm, options, problem)

    monkeypatch.setattr(tune, "_trained", diverges)
    result = tuned(tmp_path, trials=4)
    assert (result.trials[1].values, result.trials[1].reason) == ((float("inf"),), "training diverged")
    assert result.to_dict()["trials"][1]["values"] == [None]
    assert trials(tuned(tmp_path, trials=4)) == trials(result)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vary": ("learning_rat=1..2",)}, "vary must name an option .*did you mean 'learning_rate'"),
        ({"vary": ("hidden=8..4",)}, "hidden must vary over a range low..high with low below high, got '8..4'"),
        ({"vary": ("hidden=4..4",)}, "low below high"),
        ({"vary": ("hidden=4.5,5",)}, "hidden must be a whole number, got '4.5'"),
        ({"vary": ("learning_rate=nan..1",)}, "learning_rate must be a number, got 'nan'"),
        ({"vary": ("hidden=4,4",)}, "different values"),
        ({"vary": ("observe_regime=yes,no",)}, "observe_regime must be true or false, got 'yes'"),
        ({"vary": ("objective=expected,cva",)}, "did you mean 'cvar'"),
        ({"vary": ("objective=a..b",)}, "objective must vary over values such as a,b"),
        ({"vary": ("hidden",)}, "vary must be of the form NAME=VALUE, got 'hidden'"),
        ({"vary": ("lanes=4,8",)}, "lanes must be either set or varied, got both"),
        ({"vary": ("steps=4,8",)}, "vary must name an option that the tuning does not set itself, got 'steps'"),
        ({"set": ("seed=3",)}, "set must name an option that the tuning does not set itself, got 'seed'"),
        (
            {"algorithm": "ppo-fast", "set": ("seeds=2",)},
            "set must name an option that the tuning does not set itself, got 'seeds'",
        ),
        ({"set": ("seconds=3",)}, "got 'seconds'"),
        ({"set": ("steps=1",)}, r"steps must be a whole number in \[2, "),
        ({"set": ("lanes=1",)}, "lanes must be a whole number"),
        ({"trials": 6}, r"trials must be a multiple of batch \(4\), got 6; pass --trials 8"),
        ({"batch": 0}, "batch must be a whole number"),
        ({"reduction": 1}, "reduction must be a whole number"),
        ({"workers": 0}, "workers must be a whole number"),
        ({"scenario": "touch-5min"}, "there is no gradient through"),
        ({"algorithm": "ppp"}, "did you mean 'ppo'"),
        ({"algorithm": "universal"}, "scenario is not an option of universal"),
        ({"algorithm": "ppo", "set": ("replay=bars.csv",)}, "got 'replay'"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        tuned(tmp_path / "new", **changes)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_another_study_is_refused(whole):
    _, folder = whole
    with pytest.raises(ValueError, match=r"cannot continue .*: seed must be 0 as in the study, got 1; give another --out"):
        tuned(folder, seed=1)
    with pytest.raises(ValueError, match="scenario_hash must be"):
        tuned(folder, scenario="obizhaeva-wang")


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    for content in (b"hello\n", b"[1]\n", b'{"op_code": 99}\n'):
        (tmp_path / "journal.log").write_bytes(content)
        with pytest.raises(ValueError, match="it is not the journal of a study"):
            tuned(tmp_path)


@pytest.mark.parametrize("name", tune.ALGORITHMS)
def test_every_corner_of_every_search_space_is_a_valid_training(name):
    algorithm = tune.ALGORITHMS[name]
    space = distributions(algorithm.args, names_and_texts(algorithm.space, "vary"), ())
    ends = [getattr(each, "choices", None) or (each.low, each.high) for each in space.values()]
    for values in product(*((each[0], each[-1]) for each in ends)):
        algorithm.check(algorithm.args(**dict(zip(space, values, strict=True)), progress=False))


def test_the_page_has_every_search_space():
    page = (Path(__file__).parents[2] / "docs" / "howto" / "tune.md").read_text(encoding="utf-8")
    for name, algorithm in tune.ALGORITHMS.items():
        words = ", ".join(f"`{word}`" for word in algorithm.space)
        assert f"| {name} | {words} | `{algorithm.budget}` |" in page


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(whole, tmp_path):
    """The result and best.json, and every policy."""
    result = tuned(tmp_path, workers=2)
    assert trials(result) == trials(whole[0])
    policies = sorted(path.relative_to(whole[1]) for path in whole[1].rglob("policy.safetensors"))
    assert len(policies) == 12
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("policy.safetensors")) == policies
    for path in policies:
        assert (tmp_path / path).read_bytes() == (whole[1] / path).read_bytes()


@pytest.mark.slow
def test_a_process_that_is_killed_loses_nothing(whole, tmp_path):
    killed = []

    def kill():
        while not killed:
            began = [*tmp_path.rglob("checkpoint-*.safetensors")]
            killed.extend(process.pid for process in multiprocessing.active_children() if began)
            time.sleep(0.01)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    result = tuned(tmp_path, workers=2)
    killer.join(10.0)
    assert killed
    assert trials(result) == trials(whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", tune.ALGORITHMS)
def test_every_algorithm_is_tuned_by_the_command(name, tmp_path, capsys):
    quick = {"ppo": "timesteps=104 steps=26 batch_size=26 epochs=1 lanes=4"}
    quick |= {"pathwise": "steps=2 lanes=4 validation=4", "universal": "steps=2 lanes=4 markets=2 pool=3 validation=64"}
    off_policy = "timesteps=80 lanes=4 learning_starts=10 batch_size=4 gradient_steps=1 buffer_size=100"
    words = ["tune", name, "--trials", "2", "--batch", "2", "--rungs", "2", "--reduction", "2", "--episodes", "32"]
    words += ["--vary", "hidden=4,5", "--set", *quick.get(name, off_policy).split(), "--out", str(tmp_path / "study")]
    words += [] if name == "universal" else ["--scenario", "almgren-chriss"]
    assert cli.main(words) == 0
    assert f"hyperexec train {name} " in capsys.readouterr().out
