"""Training of one policy for many markets: the rollout in torch is the policy in numpy, and a run can be resumed."""

import re
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch (extra train)")

from hyperexec_env.baselines.distribution import MarketDistribution  # noqa: E402
from hyperexec_env.baselines.universal import load_universal_policy  # noqa: E402
from hyperexec_env.evaluation.rollout import paths_of, roll_on  # noqa: E402
from hyperexec_env.market.noise import episode_keys  # noqa: E402
from hyperexec_env.market.tables import build_market  # noqa: E402
from hyperexec_env.training.universal import Args, UniversalTrainer, train  # noqa: E402

SMALL = MarketDistribution(name="small", slices=(4, 6), regimes=(1, 3))


@pytest.fixture
def args(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL.to_toml(), encoding="utf-8")
    return Args(
        distribution=str(tmp_path / "small.toml"),
        out=str(tmp_path / "run"),
        steps=6,
        markets=3,
        lanes=12,
        pool=8,
        hidden=4,
        validation=128,
        validate_every=2,
        checkpoint_every=3,
        progress=False,
    )


def test_the_rollout_in_torch_is_the_policy_in_numpy(args):
    trainer = UniversalTrainer(args, SMALL)
    trainer.torch.manual_seed(0)
    with torch.no_grad():
        trainer.best.copy_(torch.randn_like(trainer.best))
    policy = trainer.policy({})
    keys = episode_keys(0, np.arange(40))
    chosen = [trainer._market(0, number, 6) for number in range(4)]
    with torch.no_grad():
        found = trainer._objectives(trainer._batch(chosen, keys), trainer.last_layer(trainer.best)).numpy()
    for number, (known, value) in enumerate(zip(chosen, found, strict=True)):
        market = build_market(known.market.scenario)
        part = keys[10 * number : 10 * number + 10]
        assert value == pytest.approx(roll_on(market, policy, paths_of(market, part)).statement.objective.mean(), rel=1e-4)


def test_a_network_of_zeros_costs_what_the_linearised_optimum_costs(args):
    trainer = UniversalTrainer(args, SMALL)
    with torch.no_grad():
        relative = trainer.roll(torch.zeros_like(trainer.weights), trainer.draw(0, 0, args.lanes))
    assert (relative == 1.0).all()
    assert len(relative) == args.markets


def test_validation_has_markets_of_its_own_with_every_number_of_slices(args):
    trainer = UniversalTrainer(args, SMALL)
    assert [len(batch.inputs) for batch in trainer.held_out] == [4, 6]
    names = {SMALL.draw(seed, number, 4).hash for seed in (2**41, 2**41 + 1) for number in range(4)}
    assert len(names) == 8


def test_a_training_that_resumes_is_the_training_that_did_not_stop(args):
    whole = train(args)
    again = replace(args, out=f"{args.out}-2")
    train(replace(again, steps=6, seconds=0.0))
    assert load_universal_policy(args.out).digest == whole.digest == load_universal_policy(again.out).digest
    folder = again.folder
    for file in [*folder.glob("policy.*"), *(path for path in (folder / "checkpoints").glob("*") if re.search("6", path.name))]:
        file.unlink()
    assert train(replace(again, resume=True)).digest == whole.digest
    assert (folder / "distribution.toml").read_text() == SMALL.to_toml()
    assert whole.about["scenario"]["name"] == "small"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lanes": 5}, "lanes must be"),
        ({"markets": 0}, "markets must be"),
        ({"pool": 0}, "pool must be"),
        ({"distribution": "many"}, "distribution must be"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_a_wrong_option_is_named(args, change, message):
    with pytest.raises(ValueError, match=message):
        train(replace(args, **change))
