"""Submissions: a policy and its card in one file, read without running it; and policies in a process of their own."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import entrants, evaluate
from hyperexec_env.evaluation.archive import pack, to_json
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.foreign import ForeignPolicy
from hyperexec_env.evaluation.guest import policy_in
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.policy import PolicyFailure, checked_shares, first_situation
from hyperexec_env.evaluation.submission import (
    Card,
    archive_files,
    is_submission,
    load_submission,
    pack_submission,
    read_folder,
    submission_of,
)
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.sharing.submit import pack_folder

pytestmark = pytest.mark.usefixtures("without_numba")

TRAINED = Path(__file__).parents[1] / "data" / "ppo-regime-day"
CARD = 'name = "Even"\nauthors = ["A. Trader"]\nmethod = "equal slices"\nlicence = "MIT"\n'
EVEN = """
import dataclasses
from typing import NamedTuple


class Parameters(NamedTuple):
    pace: float


parameters = Parameters(1.0)


def decide(parameters, situation):
    print("what a policy prints does no harm")
    return parameters.pace * situation.remaining / (situation.market.slices - situation.k)
"""


def folder_with(folder, source=EVEN, card=CARD, name="policy.py"):
    folder.mkdir(exist_ok=True)
    (folder / "card.toml").write_text(card)
    (folder / name).write_text(source)
    return folder


def board_of(policy, episodes=16):
    return evaluate("almgren-chriss", policy, episodes=episodes, optimum=False, backend="numpy")


def test_code_trades_as_the_same_policy_in_this_process(tmp_path):
    entrant = read_folder(folder_with(tmp_path / "even")).entrant(trust_code=True)
    board = board_of(["TWAP", entrant])
    first, second = (outcome.statement.objective for outcome in board.outcomes)
    assert np.array_equal(first, second)
    assert {row.policy for row in board.rows} == {"TWAP", "Even"}
    entrant.policy.close()


FOLLOWER = """
follows_regimes = True


def decide(parameters, situation):
    calm = 1.0 - situation.regime_probability_CRISIS
    return calm * situation.remaining / (situation.market.slices - situation.k)
"""


@pytest.mark.parametrize("form", ["function", "class"])
def test_code_that_follows_the_regimes_trades_as_the_same_policy_in_this_process(form, tmp_path):
    class Calm:
        name, follows_regimes = "calm", True

        def act(self, situation):
            calm = 1.0 - situation.regime_probability_CRISIS
            return calm * situation.remaining / (situation.market.slices - situation.k)

    lines = FOLLOWER.replace("\n", "\n    ").replace("parameters,", "self,").replace("def decide", "def act")
    source = FOLLOWER if form == "function" else f"class Policy:{lines}"
    entrant = read_folder(folder_with(tmp_path / "calm", source)).entrant(trust_code=True)
    board = evaluate("regime-day", [Entrant(Calm(), hidden=True), entrant], episodes=16, optimum=False, backend="numpy")
    first, second = (outcome.statement.objective for outcome in board.outcomes)
    assert np.array_equal(first, second)
    entrant.policy.close()


def test_code_does_not_run_unless_it_may(tmp_path):
    pack_folder(folder_with(tmp_path / "even"), tmp_path / "even.zip")
    with pytest.raises(ValueError, match=r"'Even' is Python code, which is not run.* --trust-code"):
        entrants(str(tmp_path / "even.zip"))


FAULTY = {
    "raise ValueError('no\\nway')": "cannot be loaded, ValueError: no way",
    "import os\ndef decide(p, s): os._exit(0)": "its process has ended",
    "import sys\ndef decide(p, s): sys.exit('x')": "raised in slice 0 SystemExit",
    "def decide(p, s): return [1.0] * 7": "raised in slice 0 ValueError",
    "import os\nos.write(1, b'!' * 99)\ndef decide(p, s): return s.remaining * float('nan')": "must return finite shares",
}


def test_code_that_fails_has_no_row_and_the_board_says_why():
    policies = [ForeignPolicy(f"f{number}", source.encode(), kind="code") for number, source in enumerate(FAULTY)]
    board = board_of(["TWAP", *policies], 4)
    assert [row.policy for row in board.rows] == ["TWAP"]
    for failure, message in zip(board.failed, FAULTY.values(), strict=True):
        assert re.search(message, failure.reason), failure
    assert all(policy._child is None for policy in policies[:-1])


def test_code_that_never_returns_is_killed_and_writes_no_file(tmp_path):
    path = tmp_path / "x"
    write = f"try: open({str(path)!r}, 'w').write('y' * 10**6)\n    except OSError: pass"
    source = f"def decide(p, s):\n    {write}\n    while True: pass"
    policy = ForeignPolicy("f", source.encode(), kind="code")
    child = policy._started()
    with pytest.raises(PolicyFailure, match=r"did not return within 0.5 s"):
        checked_shares(policy, first_situation(build_market(get_scenario("almgren-chriss")), 2), timeout=0.5)
    assert child.poll() is not None
    assert not path.exists() or path.stat().st_size == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")
def test_a_process_that_code_leaves_behind_ends_with_the_policy(tmp_path):
    source = "import os, time\nif os.fork() == 0: time.sleep(600)\ndef decide(p, s): raise ValueError(os.getpgid(0))"
    policy = ForeignPolicy("f", source.encode(), kind="code")
    (failure,) = board_of(["TWAP", policy], 2).failed
    group = int(failure.reason.rpartition(" ")[2])
    deadline = time.monotonic() + 20.0
    while _runs(group) and time.monotonic() < deadline:  # until init has collected it
        time.sleep(0.05)
    assert not _runs(group)


def _runs(group):
    """Whether a process of a group is there, and no zombie."""
    listed = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    return any(not state.startswith("Z") for state in listed.split())


def test_a_module_that_defines_no_policy_is_refused():
    with pytest.raises(ValueError, match="must define a class Policy or a function decide"):
        policy_in({"kind": "code"}, b"x = 1")


def test_a_process_does_not_inherit_secrets(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "secret")
    source = "import os\ndef decide(p, s): raise ValueError('MY_TOKEN' in os.environ)"
    (failure,) = board_of(["TWAP", ForeignPolicy("spy", source.encode(), kind="code")], 2).failed
    assert "ValueError: False" in failure.reason


# --- the file


def test_the_submission_of_a_training_is_its_policy_and_a_second_packing_has_equal_bytes(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    given = {"authors": ("B. Learner",), "licence": "MIT"}
    packed = pack_folder(TRAINED, tmp_path / "a.zip", given)
    assert pack_folder(TRAINED, tmp_path / "b.zip", given).sha256 == packed.sha256
    assert (packed.card["training_seed"], packed.card["training_scenarios"]) == (0, ["regime-day"])
    assert packed.card["training_budget"].endswith(" slices")
    read = load_submission(tmp_path / "a.zip")
    assert read.policy.digest == load_policy(TRAINED).digest
    assert is_submission(tmp_path / "a.zip")
    assert not is_submission(TRAINED / "policy.json")
    (entrant,) = entrants(str(tmp_path / "a.zip"))
    assert entrant.label == "PPO (seed 0)"


BAD_CARDS = {
    "": "the field name is missing",
    CARD + "colour = 1": "unknown field 'colour'",
    CARD.replace('"Even"', '""'): "name must be printable text, got an empty one",
    CARD.replace('"Even"', '"\\u001b[31m"'): "name must be printable text",
    CARD.replace('["A. Trader"]', "[]"): "authors must be a list of 1 to 50 texts",
    CARD.replace('["A. Trader"]', '"A. Trader"'): "authors must be a list of 1 to 50 texts",
    CARD.replace('"MIT"', "5"): "licence must be printable text",
    CARD.replace('"MIT"', '" "'): "licence must not be empty",
    CARD + "training_seed = -1": "training_seed must be a whole number",
    CARD + "training_seed = 1.0": "training_seed must be a whole number",
    CARD + "training_seed = nan": "training_seed must be a whole number",
    CARD + 'observe_regime = "yes"': "observe_regime must be true or false",
    CARD + 'action_mode = "pac"': "did you mean 'pace'",
    CARD.replace('"Even"', '"twap"'): "must not be that of a policy of this package",
    CARD.replace('"Even"', '"Replan"'): "must not be that of a policy of this package",
    "name = ": "card.toml",
    "x = " + "[" * 10_000: "card.toml",
}


def test_a_bad_card_is_one_clear_error(tmp_path):
    for card, message in BAD_CARDS.items():
        with pytest.raises(ValueError, match=message) as error:
            pack_folder(folder_with(tmp_path / "even", card=card), tmp_path / "x.zip")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "x.zip").exists()


def test_a_folder_with_no_policy_or_two_is_refused(tmp_path):
    folder = folder_with(tmp_path / "even")
    (folder / "policy.onnx").write_text("x")
    with pytest.raises(ValueError, match=r"must hold one policy .*got onnx and code"):
        read_folder(folder)
    with pytest.raises(ValueError, match=r"must hold one policy .*got none"):
        read_folder(tmp_path)


def test_an_archive_that_is_not_one_policy_is_refused(tmp_path):
    files = archive_files(read_folder(folder_with(tmp_path / "even")))
    for changed, message in (
        ({**files, "policy.onnx": b""}, "must hold the files of one policy"),
        ({**files, "policy.pkl": b"\x80\x04."}, "must hold the files of one policy"),
        ({"policy.py": b""}, "holds no card.json"),
        ({**files, "card.json": b"[]"}, "card.json must be an object"),
        ({**files, "card.json": to_json({**json.loads(files["card.json"]), "name": "x" * 300})}, "name must be"),
    ):
        (tmp_path / "x.zip").write_bytes(pack("submission", {}, changed))
        with pytest.raises(ValueError, match=message):
            load_submission(tmp_path / "x.zip")


def test_the_card_of_a_network_must_agree_with_the_network():
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    files = archive_files(read_folder(TRAINED, {"authors": ("B",), "licence": "MIT"}))
    files["card.json"] = to_json({**json.loads(files["card.json"]), "observe_regime": False})
    with pytest.raises(ValueError, match=r"observe_regime of the card must be that of policy\.json, True"):
        submission_of(files)


def test_a_card_survives_its_archive(tmp_path):
    card = Card("Ä", ("a", "b"), "m", "MIT", ("regime-day",), 3, "1 slice", "fraction", False, "two\nlines")
    submission = read_folder(folder_with(tmp_path / "even"))._replace(card=card)
    (tmp_path / "x.zip").write_bytes(pack_submission(submission))
    assert load_submission(tmp_path / "x.zip").card == card


# --- ONNX


def graph(width=21, external="", memory=False):
    """An ONNX graph: the mean of the observation times weights, plus a memory that counts the slices."""
    helper = pytest.importorskip("onnx.helper", reason="needs the extra `export`")
    onnx = sys.modules["onnx"]
    weights = onnx.numpy_helper.from_array(np.linspace(-0.1, 0.1, width, dtype=np.float32).reshape(width, 1), "weights")
    if external:
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=external)
    inputs, outputs = [("observation", ["n", width])], [("action", ["n", 1])]
    nodes = [helper.make_node("MatMul", ["observation", "weights"], ["action" if not memory else "own"])]
    constants = [weights]
    if memory:
        constants.append(onnx.numpy_helper.from_array(np.float32([0.01]), "one"))
        nodes += [
            helper.make_node("Add", ["count", "one"], ["next_count"]),
            helper.make_node("Add", ["own", "count"], ["action"]),
        ]
        inputs.append(("count", ["n", 1]))
        outputs.append(("next_count", ["n", 1]))
    made = [[helper.make_tensor_value_info(name, 1, shape) for name, shape in each] for each in (inputs, outputs)]
    model = helper.make_model(helper.make_graph(nodes, "g", *made, constants), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def onnx_policy(content):
    return ForeignPolicy("G", content, kind="onnx", action_mode="pace", observe_regime=True)


@pytest.mark.parametrize("memory", [False, True])
def test_a_graph_trades_as_its_formula(memory):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    from hyperexec_env.evaluation.observation import ObservationPolicy

    weights, slices = np.linspace(-0.1, 0.1, 21, dtype=np.float32), []

    def action(observation):
        slices[:] = [0] if observation[0, 9] >= 1.0 else [slices[0] + 1]
        return observation @ weights + (0.01 * slices[0] if memory else 0.0)

    board = board_of([onnx_policy(graph(memory=memory)), ObservationPolicy("F", action)], 70)
    first, second = (outcome.statement.objective for outcome in board.outcomes)
    assert np.allclose(first, second, rtol=1e-5)


def test_a_bad_graph_is_one_clear_error(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    from hyperexec_env.evaluation.onnx_policy import load_onnx

    monkeypatch.chdir(tmp_path)
    np.ones(21, np.float32).tofile("secret.bin")
    for content, message in (
        (b"\x80\x04.", "not ONNX|cannot load"),
        (b"", "cannot load"),
        (graph(width=5), r"the first input must be float32 of shape \(n, 21\)"),
        (graph(external="secret.bin"), "'weights' refers to another file"),
    ):
        with pytest.raises(ValueError, match=message):
            load_onnx("G", content, "pace", True)
    with pytest.raises(PolicyFailure, match="refers to another file"):
        onnx_policy(graph(external="secret.bin"))._started()
