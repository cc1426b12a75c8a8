"""The wheel: what it holds, and that it works from an empty folder."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", reason="building the wheel without a network needs setuptools (extra `dev`)")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("the wheel is built from a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {
        f"{prefix}{path.relative_to(ROOT).as_posix()}"
        for folder, prefix in (("hyperexec_env", ""), ("baselines", "hyperexec_env/"), ("training", "hyperexec_env/"))
        for path in (ROOT / folder).rglob("*.py")
    }
    assert names == modules | {"hyperexec_env/py.typed"}


def test_the_command_works_from_the_wheel_in_an_empty_folder(wheel, tmp_path):
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    _run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    command = [str(site / "bin" / "hyperexec")]
    assert "regime-day" in _run(*command, "scenarios", cwd=empty, env=environment)
    assert "TWAP" in _run(*command, "evaluate", "--episodes", "10", "--backend", "numpy", cwd=empty, env=environment)
    code = "import hyperexec_env as hx; print(hx.solve.__code__.co_filename, hx.leaderboard.__code__.co_filename, hx.__file__)"
    assert _run(sys.executable, "-c", code, cwd=empty, env=environment).count(str(site)) == 3


def test_a_wheel_and_a_checkout_have_one_engine(wheel, tmp_path):
    """Results that one has stored are those of the other."""
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = "from hyperexec_env.evaluation.identity import _sources, engine; print(engine(), *sorted(_sources()))"
    safe = {**os.environ, "PYTHONSAFEPATH": "1"}
    ours = _run(sys.executable, "-c", code, cwd=tmp_path, env=safe)
    theirs = _run(sys.executable, "-c", code, cwd=tmp_path, env={**safe, "PYTHONPATH": str(site)})
    assert ours == theirs
    assert {"baselines/policies.py", "market/kernel.py"} <= set(ours.split())


def test_only_one_name_is_installed(wheel):
    assert {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == {"hyperexec_env"}


def test_the_core_needs_gymnasium_and_numpy_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("=")[0].strip() for requirement in project["dependencies"]}
    assert names == {"gymnasium", "numpy"}
    assert project["requires-python"] == ">=3.11"


def test_the_constraints_pin_torch():
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()
