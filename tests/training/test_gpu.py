"""The benchmark of a GPU, run on a processor by the same code."""

import json
import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

pytestmark = pytest.mark.usefixtures("without_numba")

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "gpu.py"))


def test_it_measures_the_market_its_gradient_the_training_and_ppo(capsys):
    words = "--scenario almgren-chriss --lanes 8 --seeds 2 --ppo-lanes 32 --seconds 0.001"
    SCRIPT["main"](words.split())
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["market", "gradient", "training", "PPO-fast"]
    assert min(found.values()) > 0


def test_a_gpu_that_is_not_there_is_refused():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match="device must be 'cpu', because torch finds no GPU"):
        SCRIPT["measure"](SCRIPT["Args"](device="cuda"))
