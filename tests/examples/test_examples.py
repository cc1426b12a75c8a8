"""Every example runs with a tiny budget, where its library is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")

# warnings of the libraries are theirs
pytestmark = pytest.mark.filterwarnings("default")


def example(name):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(board, *names):
    """The rows of the policies that an example trained: judged, and not absurd."""
    rows = {row.policy: row for row in board.rows}
    assert all(0.0 < rows[name].objective_bps < 500.0 for name in names)
    assert {"TWAP", "POV"} <= set(rows)


def test_the_page_names_every_example_and_every_example_is_on_the_page():
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".yml"):
            assert f"examples/{path.name}" in PAGE
    assert PAGE.count("](../examples/") == len([path for path in EXAMPLES.iterdir() if path.suffix in (".py", ".yml")])


@pytest.mark.parametrize(
    ("train", "name"), [("ppo", "PPO"), ("recurrent_ppo", "RecurrentPPO"), ("maskable_ppo", "MaskablePPO")]
)
def test_stable_baselines3(train, name):
    pytest.importorskip("sb3_contrib", reason="needs the extra `train`")
    import hyperexec_env as hx

    policy = getattr(example("sb3"), train)(64)
    trained(hx.evaluate("regime-day", ["TWAP", "POV", policy], episodes=16, optimum=False), name)


def test_rl_zoo3(tmp_path):
    pytest.importorskip("rl_zoo3", reason="needs rl_zoo3")
    command = [
        sys.executable,
        "-m",
        "rl_zoo3.train",
        "--algo",
        "ppo",
        "--env",
        "HyperExec-v0",
        "-n",
        "2080",
        "-f",
        str(tmp_path),
    ]
    command += ["--gym-packages", "hyperexec_env", "--conf-file", str(EXAMPLES / "rl_zoo3.yml"), "--eval-freq", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ppo" / "HyperExec-v0_1" / "HyperExec-v0.zip").is_file()


def test_cleanrl():
    returns = example("cleanrl_envs").main(steps=60, lanes=2)
    assert len(returns) >= 4
    assert max(returns) < 0.0


def test_torchrl():
    pytest.importorskip("torchrl", reason="needs torchrl")
    trained(example("torchrl_ppo").main(timesteps=1040, episodes=16), "torchrl PPO")


def test_tianshou():
    pytest.importorskip("tianshou", reason="needs tianshou")
    for name in ("joblib", "rliable"):
        pytest.importorskip(name, reason="the high-level interface of tianshou needs its extra `eval`")
    trained(example("tianshou_ppo").main(timesteps=1040, episodes=16), "tianshou PPO")


def test_skrl():
    pytest.importorskip("skrl", reason="needs skrl")
    trained(example("skrl_ppo").main(timesteps=64 * 26, episodes=16), "skrl PPO")


def test_minari(tmp_path, monkeypatch):
    pytest.importorskip("minari", reason="needs minari")
    pytest.importorskip("h5py", reason="minari stores data sets with h5py")
    monkeypatch.setitem(os.environ, "MINARI_DATASETS_PATH", str(tmp_path))
    data = example("minari_dataset").main(episodes=3)
    assert (data.total_episodes, data.total_steps) == (3, 78)
    for episode in data.iterate_episodes():
        costs = episode.infos["objective_bps"]
        assert costs[1:] == pytest.approx(-np.cumsum(episode.rewards), abs=1e-9)


def test_optuna():
    pytest.importorskip("optuna", reason="needs optuna")
    trained(example("tune").main(trials=2, episodes=16), "Careful")


def test_the_program_of_the_page_runs(capsys):
    program = PAGE.split("```python\n")[1].split("```")[0]
    exec(compile(program, "clients.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text
    assert "schedule" in capsys.readouterr().out
