"""Importing the package is light, and no module of the core needs an extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXTRAS = (
    "torch",
    "stable_baselines3",
    "sb3_contrib",
    "numba",
    "matplotlib",
    "PIL",
    "pyarrow",
    "pandas",
    "scipy",
    "tensorboard",
    "safetensors",
    "ray",
)


def loaded_after(program, *, block=()):
    """Run a program in a fresh process, with some modules missing; return the modules that it loaded."""
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in block), program]
    lines += ["import json", "print(json.dumps([name for name, module in sys.modules.items() if module is not None]))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "program",
    [
        "import hyperexec_env",
        "import hyperexec_env.envs",
        "from hyperexec_env.market.scenario import scenario_names; scenario_names()",
        "import gymnasium as gym, hyperexec_env\n"
        "env = gym.make('HyperExec-v0', render_mode='ansi'); env.reset(seed=0); env.step([0.0]); env.render()\n"
        "env = gym.make_vec('HyperExec-v0', num_envs=2, backend='numpy'); env.reset(seed=0); env.step([[0.0], [0.0]])",
    ],
    ids=["package", "environments", "scenarios", "an episode"],
)
def test_importing_and_stepping_load_no_extra(program):
    assert not loaded_after(program) & set(EXTRAS)


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_numpy_serves_where_numba_is_not_installed(backend):
    program = f"import gymnasium as gym, hyperexec_env\nenv = gym.make_vec('HyperExec-v0', num_envs=2, backend={backend!r})\n"
    assert "numpy" in loaded_after(program + "env.reset(seed=0); env.step([[0.0], [0.0]])", block=("numba",))


def test_asking_for_numba_where_it_is_not_installed_says_how_to_install_it():
    program = "import sys; sys.modules['numba'] = None\nfrom hyperexec_env.envs.vector import HyperExecVectorEnv\n"
    lines = [sys.executable, "-c", program + "HyperExecVectorEnv(2, backend='numba')"]
    done = subprocess.run(lines, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'numba is not installed: pip install "hyperexec-env[fast]"' in done.stderr


def test_importing_the_package_loads_nothing_but_gymnasium_of_what_is_heavy():
    light = {name for name in loaded_after("import hyperexec_env") if name.split(".")[0] == "hyperexec_env"}
    assert light == {"hyperexec_env", "hyperexec_env.version"}


def test_every_module_of_the_core_and_of_the_baselines_imports_without_any_extra():
    names = [
        ".".join([*package, *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")
        for folder, package in (("hyperexec_env", ()), ("baselines", ("hyperexec_env",)))
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    loaded = loaded_after("\n".join(f"import {name}" for name in names), block=EXTRAS)
    assert set(names) <= loaded
