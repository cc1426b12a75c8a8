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
    "nautilus_trader",
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
        if path.parent.name != "integrations"  # each of its modules is a bridge to an extra
    ]
    loaded = loaded_after("\n".join(f"import {name}" for name in names), block=EXTRAS)
    assert set(names) <= loaded


@pytest.mark.parametrize("name", ["nautilus", "nautilus_data"])
def test_a_bridge_names_the_extra_that_it_needs(name):
    program = f"import sys; sys.modules['nautilus_trader'] = None; import hyperexec_env.integrations.{name}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'nautilus_trader is not installed: pip install "hyperexec-env[nautilus]"' in done.stderr.splitlines()[-1]


OWN = """
import baselines, training, training.ppo
import hyperexec_env as hx
import hyperexec_env.baselines.policies, hyperexec_env.training.ppo
from hyperexec_env import cli

assert baselines.OWNER == training.OWNER == training.ppo.OWNER == "user"
assert hyperexec_env.training.ppo.Args().scenario == "regime-day"
assert hx.get_policy("TWAP").name == "TWAP"
print(hx.evaluate("almgren-chriss", "AC", episodes=4, backend="numpy", optimum=False).rows[0].policy)
print(cli.main(["train", "ppo", "--timesteps", "0"]))
"""


def test_a_users_own_folders_training_and_baselines_shadow_nothing_and_are_not_shadowed(tmp_path):
    for name in ("baselines", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'user'\n")
        for module in ("ppo", "policies", "evaluate", "run"):
            (tmp_path / name / f"{module}.py").write_text("OWNER = 'user'\n")
    script = tmp_path / "script.py"
    script.write_text(OWN)
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["AC", "2"]
    assert "timesteps must be a whole number" in done.stderr


@pytest.mark.parametrize("name", ["baselines", "training"])
def test_only_hyperexec_env_is_installed(name, tmp_path):
    done = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr


def test_a_checkout_can_be_used_without_an_installation():
    """As in a checkout beside a package that was installed as a copy: Python finds the folder of the source first."""
    program = (
        "sys.meta_path = [finder for finder in sys.meta_path if '__editable__' not in type(finder).__module__ + repr(finder)]\n"
        "import hyperexec_env as hx, hyperexec_env.training.folder\n"
        "hx.get_policy('TWAP'); from hyperexec_env.evaluation.identity import engine; engine()"
    )
    assert {"hyperexec_env.baselines.policies", "hyperexec_env.training.folder"} <= loaded_after(program)
