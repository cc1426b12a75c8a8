"""Training over venues: torch trades in the same market, gradients are derivatives, and policies take part in boards."""

import json
from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.venue_task import ROUTERS, build_venue_task
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.envs.venues_vector import HyperExecVenuesVectorEnv
from hyperexec_env.evaluation.network import load_policy, policy_files
from hyperexec_env.evaluation.venue_network import VenueNetworkPolicy, check_venue_layers, load_venue_policy
from hyperexec_env.evaluation.venue_rollout import roll_venues
from hyperexec_env.market.liquidity import Atoms
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.venue import Venue
from hyperexec_env.market.venue_path import draw_venue_path
from hyperexec_env.market.venue_scenario import venue_names

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env.training import pathwise, ppo  # noqa: E402 - after the skip
from hyperexec_env.training.checkpoints import FOLDER  # noqa: E402 - after the skip
from hyperexec_env.training.leaderboard import leaderboard, verified  # noqa: E402 - after the skip
from hyperexec_env.training.pathwise import network_shapes, trainer_of  # noqa: E402 - after the skip
from hyperexec_env.training.venue_rollout import CENSORED, roll_venue_stack, venue_stack_of  # noqa: E402 - after the skip

torch.set_num_threads(1)
TINY = pathwise.Args(scenario="passive-day", lanes=8, validation=8, steps=6, learning_rate=1e-2, hidden=8, progress=False)
PPO = {"timesteps": 208, "lanes": 4, "steps": 26, "batch_size": 52, "epochs": 1, "hidden": 8}
PASSIVE = hx.get_venues("passive-day")
TWO_POOLS = replace(
    PASSIVE,
    market=replace(PASSIVE.market, name="two pools"),
    venues=(*PASSIVE.venues, Venue(name="pool", kind="dark", fee=0.001, adverse_bps=0.5, liquidity=Atoms())),
)
EVERY = [*map(hx.get_venues, venue_names()), TWO_POOLS]


def policy_of(task, seed=0, units=8, head="tanh"):
    """Return a policy with random weights, which does not read what pathwise training does not."""
    rng = np.random.default_rng(seed)
    shapes = network_shapes(len(task.names), units, outputs=task.space.shape[0])
    arrays = [(rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32) for shape in shapes]
    arrays[0][:, [name.endswith(CENSORED) for name in task.names]] = 0.0
    layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
    return VenueNetworkPolicy("random net", layers, "tanh", head, "pace", not task.hidden, seed)


@pytest.mark.fast
@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize(("router", "observe_regime"), [("water-filling", True), ("agent", False)])
def test_a_policy_costs_the_same_in_torch_the_environments_and_the_evaluation(scenario, router, observe_regime):
    task, count = build_venue_task(scenario, router=router, observe_regime=observe_regime), 3
    policy = policy_of(task)
    assert (policy.router, policy.names) == (router, task.names)
    paths = draw_venue_path(task.market, episode_keys(5, np.arange(count)), float(scenario.market.side))
    evaluated = roll_venues(task.market, policy, paths)
    env = HyperExecVenuesEnv(scenario, router=router, observe_regime=observe_regime)
    observation, _ = env.reset(seed=5, options={"episode": 1})
    over = False
    while not over:
        assert policy.act(env.situation) == pytest.approx(env.episode.request(policy.action(observation[None])[0].tolist())[0])
        observation, _, over, _, info = env.step(policy.action(observation[None])[0])
    assert info["objective_bps"] == pytest.approx(evaluated.objective[1], rel=1e-9)
    trainer = trainer_of(replace(TINY, scenario=scenario, router=router, observe_regime=observe_regime), scenario)
    network = trainer.network(torch.cat([torch.tensor(part).ravel() for layer in policy.layers for part in layer]))
    stack = venue_stack_of(task, paths, torch.float64)
    outcome = roll_venue_stack(task, stack, lambda seen: network(seen.float()).double())
    assert outcome.objective.numpy() == pytest.approx(evaluated.objective, rel=1e-4)  # the network computes in float32
    assert outcome.shortfall.numpy() == pytest.approx(evaluated.shortfall, rel=1e-4, abs=1e-2)


@pytest.mark.fast
@pytest.mark.parametrize("scenario", EVERY, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("router", ROUTERS)
def test_the_gradient_of_an_episode_is_its_derivative(scenario, router):
    trainer = trainer_of(replace(TINY, scenario=scenario, router=router), scenario)
    keys = episode_keys(3, np.arange(4))
    stack = venue_stack_of(trainer.task, draw_venue_path(trainer.task.market, keys, 1.0), torch.float64)
    rng = np.random.default_rng(0)
    weights = 0.3 * torch.tensor(rng.normal(size=trainer.weights.numel()))
    direction = torch.tensor(rng.normal(size=len(weights)))

    def total(values):
        outcome = roll_venue_stack(trainer.task, stack, trainer.network(values))
        return outcome.objective.mean() + outcome.shortfall.mean()

    (gradient,) = torch.autograd.grad(total(weights.requires_grad_()), weights)
    step = 1e-6
    with torch.no_grad():
        difference = (total(weights + step * direction) - total(weights - step * direction)) / (2 * step)
    assert float(gradient @ direction) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.fast
def test_the_mean_gradient_is_the_derivative_of_the_mean_over_the_hidden_liquidity():
    """Posts on both sides of every atom: a finite difference crosses the kinks of min(y, A), and the mean has no jump."""
    trainer = trainer_of(TINY, PASSIVE)
    keys = episode_keys(1, np.arange(4000))
    stack = venue_stack_of(trainer.task, draw_venue_path(trainer.task.market, keys, 1.0), torch.float64)
    actions = torch.tensor([[0.0, -0.96]], dtype=torch.float64).expand(len(keys), 2)  # posts 2 % of the rest, near an atom

    def costs(actions):
        return roll_venue_stack(trainer.task, stack, lambda seen: actions, False).objective

    actions = actions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(costs(actions).sum(), actions)
    with torch.no_grad():
        for number, change in enumerate(1e-3 * torch.eye(2, dtype=torch.float64)):
            secant = (costs(actions + change) - costs(actions - change)) / 2e-3
            error = secant - gradient[:, number]
            assert abs(float(error.mean())) < 4.0 * float(error.std()) / len(keys) ** 0.5 + 1e-4
            crossed = error.abs() > 0.05 * gradient[:, number].abs()  # where a post crosses an atom the secant is not the slope
            assert crossed.any()


@pytest.mark.parametrize("router", ROUTERS)
def test_a_trained_policy_takes_part_in_the_board(router, tmp_path, capsys):
    """Both methods; the policy that is saved is the one that was trained, and a folder of it is an entrant."""
    folders = []
    for method, options in (("ppo", PPO | {"tensorboard": False}), ("pathwise", {"steps": 6, "lanes": 8, "validation": 8})):
        folders.append(str(tmp_path / method))
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not False]
        words += [f"--no-{name}" for name in ("progress", *(name for name, value in options.items() if value is False))]
        words = ["--scenario", "kratz-schoneborn", "--router", router, "--out", folders[-1], *words]
        assert cli.main(["train", method, *words]) == 0
    policies, scenario = [load_venue_policy(folder) for folder in folders], hx.get_venues("kratz-schoneborn")
    assert all(policy.about["scenario_hash"] == scenario.hash and policy.router == router for policy in policies)
    board = hx.evaluate_venues(scenario, [*folders, policies[0], "TWAP"], episodes=8)
    rows = {row.policy: row for row in board.rows if row.training_seed is not None}
    assert set(rows) == {"PPO", "Pathwise"}
    assert sum(row.training_seed is not None for row in board.rows) == 2
    with pytest.raises(ValueError, match="not a trained policy"):
        load_policy(folders[0])
    with pytest.raises(ValueError, match="trades 3 lit and 1 hidden venues, got a scenario with 1 and 1"):
        hx.evaluate_venues(scenario, policy_of(build_venue_task("passive-day")), episodes=4)
    weights = policies[1].layers[0][0]
    assert not weights[:, [name.endswith(CENSORED) for name in policies[1].names]].any()
    capsys.readouterr()


def test_a_pathwise_training_improves_and_resumes(tmp_path):
    args = replace(TINY, scenario="kratz-schoneborn", steps=40, lanes=16, checkpoint_every=20, out=str(tmp_path / "whole"))
    whole = pathwise.train(args)
    assert whole.about["best_step"] > 0
    again = replace(args, out=str(tmp_path / "again"))
    pathwise.train(again)
    for path in [*policy_files(again.out), *(path for path in (tmp_path / "again" / FOLDER).iterdir() if "40" in path.name)]:
        path.unlink()
    assert pathwise.train(replace(again, resume=True)).digest == whole.digest


def test_the_saved_policy_of_ppo_acts_as_the_trained_actor(tmp_path):
    args = ppo.Args(scenario="venues-day", tensorboard=False, progress=False, out=str(tmp_path), **PPO)
    policy = ppo.train(args)
    model = ppo.build_model(args, hx.get_venues("venues-day"))
    linear = [layer for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, torch.nn.Linear)]
    for (weight, bias), layer in zip(policy.layers, [*linear, model.policy.action_net], strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    observation = HyperExecVenuesVectorEnv(6, scenario="venues-day").reset(seed=3)[0]
    actions, _ = model.predict(observation, deterministic=True)
    assert policy.action(observation) == pytest.approx(actions, abs=1e-6)


def test_the_lanes_of_venues_go_on_from_a_position():
    first, second = (
        HyperExecVenuesVectorEnv(5, "SameStep", scenario="venues-day", quantity_range=(0.5, 1.0)) for _ in range(2)
    )
    rng = np.random.default_rng(0)
    first.reset(seed=1)
    for _ in range(7):
        first.step(rng.uniform(-1, 1, (5, 2)))
    position = {name: values.copy() for name, values in first.position().items()}
    seen = second.go_on(position)
    for number in range(24):
        actions = rng.uniform(-1, 1, (5, 2))
        last, again = first.step(actions), second.step(actions)
        assert np.array_equal(last[0], again[0]), number
        assert np.array_equal(last[1], again[1])
    assert seen.shape == last[0].shape


def test_layers_that_fit_no_venues_are_refused():
    task = build_venue_task("venues-day")
    layers = policy_of(task).layers
    check_venue_layers(layers, "tanh")
    with pytest.raises(ValueError, match="head must be 'clip' or 'tanh' over venues"):
        check_venue_layers(layers, "argmax")
    with pytest.raises(ValueError, match="no network of 30 inputs and 2 outputs"):
        check_venue_layers(((layers[0][0][:, 1:], layers[0][1]), *layers[1:]), "tanh")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ppo", "--scenario", "venues-day", "--action-mode", "discrete"], "action_mode must be pace over venues"),
        (["ppo", "--scenario", "venues-day", "--uncertainty"], "uncertainty must be False over venues"),
        (["ppo", "--scenario", "regime-day", "--router", "agent"], "router is an option of scenarios with venues"),
        (["ppo", "--scenario", "touch-5min", "--router", "agent"], "router is an option of scenarios with venues"),
        (["pathwise", "--scenario", "basket-day", "--router", "agent"], "router is an option of scenarios with venues"),
        (["dqn", "--scenario", "venues-day"], "'venues-day' is a scenario with venues"),
        (["sac", "--scenario", "venues-day"], "'venues-day' is a scenario with venues"),
    ],
)
def test_what_venues_do_not_have_is_refused_in_one_sentence(words, message, capsys):
    assert cli.main(["train", *words, "--no-progress"]) == 2
    assert message in capsys.readouterr().err


def test_a_leaderboard_takes_venues_and_the_touch_and_does_not_train_twice(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    pytest.importorskip("sb3_contrib", reason="needs the extra `train`")
    names = ("kratz-schoneborn", "touch-queue")
    options = {"episodes": 20, "training_seeds": 1, "timesteps": 100, "out": tmp_path, "progress": False}
    boards = leaderboard(names, **options)
    for name, board in zip(names, boards, strict=True):
        (trained,) = [row for row in board.rows if row.training_seed is not None]
        assert (trained.policy, trained.training_seed) == ("PPO", 0)
        assert json.loads((tmp_path / f"{name}.json").read_text()) == board.to_dict()
        assert "J\\* = " in (tmp_path / f"{name}.md").read_text()
    text = (tmp_path / "leaderboard.html").read_text()
    assert (text.count("<h2>"), text.count('class="trained"'), text.count('class="optimum"')) == (2, 2, 2)
    monkeypatch.setattr(ppo, "train", lambda options, **more: pytest.fail("trained again"))
    assert [board.to_dict() for board in leaderboard(names, **options)] == [board.to_dict() for board in boards]
    assert [board.to_dict() for board in leaderboard(names, workers=2, **options)] == [board.to_dict() for board in boards]
    assert verified(tmp_path).sound  # nothing is stored of these boards, and their policies are known
    assert cli.main(["bundle", str(tmp_path), "--out", str(tmp_path / "bundle.zip")]) == 2
    assert "holds no board" in capsys.readouterr().err  # a bundle holds boards of orders of one asset and of baskets
    with pytest.raises(ValueError, match="optimum must be True for 'touch-queue', got False"):
        leaderboard("touch-queue", optimum=False, out=tmp_path / "other")
