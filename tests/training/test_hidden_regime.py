"""The benchmark of learned memories beside the exact filter, run with a tiny budget."""

import runpy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("sb3_contrib", reason="needs the extra `train`")

from hyperexec_env.envs.task import build_task  # noqa: E402 - after the skip
from hyperexec_env.market.scenario import get_scenario  # noqa: E402

pytestmark = pytest.mark.usefixtures("without_numba")

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "hidden_regime.py"))
SMALL = 'base = "regime-day"\nname = "short"\nslices = 4\n'


@pytest.fixture
def scenario(tmp_path):
    (tmp_path / "short.toml").write_text(SMALL)
    return str(tmp_path / "short.toml")


def test_the_board_says_what_part_of_the_way_each_memory_goes(scenario, capsys):
    budget = "--seeds 1 --steps 2 --lanes 8 --units 4 --timesteps 1024 --ppo-lanes 64 --episodes 200"
    SCRIPT["main"](["--scenario", scenario, *budget.split()])
    lines = capsys.readouterr().out.splitlines()
    table = lines[next(at for at, line in enumerate(lines) if "closed [95 %]" in line) :]
    for name in (
        "best fixed schedule",
        "belief-grid",
        "GRU (seed 0)",
        "RecurrentPPO (seed 0)",
        "filtered",
        "regime observed one slice late",
    ):
        assert sum(name in line for line in table) == 1
    assert table[2].endswith("0 %")
    assert table[-1].endswith("100 %")
    assert not any("optimum" in line or "VWAP" in line for line in table)


def test_a_gru_forgets_where_an_episode_begins(scenario):
    task = build_task(get_scenario(scenario), observe_regime=False)
    torch.manual_seed(0)
    network = SCRIPT["Gru"](len(task.names), 4)
    torch.nn.init.normal_(network.head.weight)
    act = SCRIPT["gru_action"](network)
    first, later = np.zeros((2, 3, len(task.names)), np.float32)
    first[:, SCRIPT["TIME_LEFT"]] = 1.0
    once, again = [act(first), act(later)], [act(first), act(later)]
    assert np.array_equal(once, again)
    assert not np.array_equal(act(later), again[1])
