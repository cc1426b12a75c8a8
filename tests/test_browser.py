"""The page of the browser: its race is the environment's own account, and the package imports without processes."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import hyperexec_env as hx

pytestmark = pytest.mark.fast
FOLDER = Path(__file__).parent.parent / "docs" / "browser"


def test_an_order_of_the_race_pays_the_objective_of_its_episode():
    race = runpy.run_path(str(FOLDER / "race.py"))["Race"](seed=3)
    while (state := race.step(0.25))["slice"] < state["slices"]:
        assert state["regimes"][-1] in race.market.regimes.names
    env = hx.make("regime-day")
    env.reset(seed=3)
    over = False
    while not over:
        _, _, over, _, info = env.step([0.25])
    assert state["orders"]["you"]["cost_bps"][-1] == pytest.approx(info["objective_bps"], abs=1e-9)
    assert [order["remaining"][-1] for order in state["orders"].values()] == [0.0, 0.0]
    assert {len(order["cost_bps"]) for order in state["orders"].values()} == {state["slices"] + 1}
    assert race.step(1.0) == state  # the day is over


def test_the_package_imports_where_processes_are_missing():
    program = "import sys; sys.platform = 'emscripten'\nimport hyperexec_env\nimport _multiprocessing, gymnasium.vector\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "print(hasattr(_multiprocessing, '__spec__') and _multiprocessing.__spec__)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "None"), done.stderr
