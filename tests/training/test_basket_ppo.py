"""PPO on baskets: the actor that is trained is the policy that is saved, training resumes, and the leaderboard judges it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

import torch

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.network import policy_files
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.training import ppo
from hyperexec_env.training.checkpoints import FOLDER, newest_checkpoint
from hyperexec_env.training.leaderboard import leaderboard, verified

pytestmark = pytest.mark.usefixtures("without_numba")  # compiled lanes are numpy lanes: tests/envs/test_basket_lanes.py

HEDGED = get_basket("basket-hedged")
SMALL = replace(
    HEDGED,
    name="small",
    assets=HEDGED.assets[2:5],
    correlation=tuple(row[2:5] for row in HEDGED.correlation[2:5]),
).with_assets(slices=5)
TINY = ppo.Args(
    scenario=SMALL, timesteps=60, lanes=4, steps=10, batch_size=20, epochs=1, hidden=4, tensorboard=False, progress=False
)


def test_the_saved_policy_acts_as_the_trained_actor(tmp_path):
    args = replace(TINY, out=str(tmp_path))
    model = ppo.build_model(args, SMALL)
    policy = ppo.train(args)
    assert load_basket_policy(tmp_path).digest == policy.digest
    assert policy.about["scenario_hash"] == SMALL.hash
    env = HyperExecBasketVectorEnv(6, scenario=SMALL)
    observation = env.reset(seed=3)[0]
    for (weight, bias), layer in zip(policy.layers, model.policy.actor_layers(), strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    actions, _ = model.predict(observation, deterministic=True)
    assert policy.action(observation) == pytest.approx(actions, abs=1e-6)
    assert actions.shape == (6, 3)


def test_a_resumed_training_of_a_basket_is_the_uninterrupted_one(tmp_path):
    args = replace(TINY, timesteps=80, checkpoint_every=40, out=str(tmp_path))
    whole = ppo.train(args)
    for path in [*policy_files(tmp_path), *(path for path in (tmp_path / FOLDER).iterdir() if "80" in path.name)]:
        path.unlink()
    assert newest_checkpoint(tmp_path / FOLDER).step == 40
    assert ppo.train(replace(args, resume=True)).digest == whole.digest


def test_the_lanes_of_a_basket_go_on_from_a_position():
    first, second = (HyperExecBasketVectorEnv(5, "SameStep", scenario=SMALL, quantity_range=(0.5, 1.0)) for _ in range(2))
    rng = np.random.default_rng(0)
    first.reset(seed=1)
    for _ in range(7):
        first.step(rng.uniform(-1, 1, (5, 3)))
    position = {name: values.copy() for name, values in first.position().items()}
    last = first.step(np.zeros((5, 3)))
    second.go_on(position)
    again = second.step(np.zeros((5, 3)))
    assert np.array_equal(last[0], again[0])
    assert np.array_equal(last[1], again[1])
    for _ in range(4):
        actions = rng.uniform(-1, 1, (5, 3))
        last, again = first.step(actions), second.step(actions)
        assert np.array_equal(last[0], again[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_mode": "discrete"}, "action_mode must be pace, fraction or participation for a basket"),
        ({"uncertainty": True}, "uncertainty is not an option of a basket"),
    ],
)
def test_what_a_basket_does_not_have_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        ppo.train(replace(TINY, out=str(tmp_path), **changes))


def test_the_leaderboard_of_a_basket_is_stored_reused_and_verified(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    path = tmp_path / "small.toml"
    path.write_text(SMALL.to_toml())
    out = str(tmp_path / "board")
    words = [
        "leaderboard",
        "--scenario",
        str(path),
        "--training-seeds",
        "2",
        "--timesteps",
        "40",
        "--episodes",
        "8",
        "--out",
        out,
    ]
    assert cli.main([*words, "--no-progress"]) == 0
    first = (tmp_path / "board" / "small.json").read_text()
    assert "PPO (seed 1)" in capsys.readouterr().out
    assert "training seeds" in (tmp_path / "board" / "leaderboard.html").read_text()
    (board,) = leaderboard(str(path), training_seeds=2, timesteps=40, episodes=8, out=out, progress=False)
    assert board.to_json() == first
    assert {row.policy for row in board.rows} >= {"PPO", "TWAP", "AC-basket", "optimum", "one-by-one"}
    found = verified(out)
    assert found.sound
    assert not any(finding.skipped for finding in found.findings)
    assert hx.get_basket(str(path)).hash == board.scenario.hash
    assert cli.main(["bundle", out, "--out", str(tmp_path / "small.zip")]) == 0
    assert cli.main(["verify", str(tmp_path / "small.zip")]) == 0
