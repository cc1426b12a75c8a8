"""The wheel and the source distribution: what they hold, and that they work from an empty folder; and versions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from hyperexec_env.version import __version__

ROOT = Path(__file__).parent.parent


def _run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files of the repository, alone in a folder."""
    pytest.importorskip("setuptools", reason="building without a network needs setuptools (extra `dev`)")
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("distributions are built from a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
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
    shipped = {f"hyperexec_env/baselines/universal_policy/policy.{end}" for end in ("json", "safetensors")}
    assert names == modules | shipped | {"hyperexec_env/py.typed"}


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


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory):
    """The folder of the source distribution, unpacked."""
    pytest.importorskip("build", reason="building a source distribution needs build (extra `dev`)")
    before, folder = sorted(source.rglob("*")), tmp_path_factory.mktemp("sdist")
    _run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(source))
    for path in sorted(set(source.rglob("*")) - set(before), reverse=True):  # what the build left behind
        path.rmdir() if path.is_dir() else path.unlink()
    (built,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(built, folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


def test_the_source_distribution_holds_every_file_of_the_repository(unpacked, source):
    held = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    made = {name for name in held if name in ("PKG-INFO", "setup.cfg") or ".egg-info/" in name}
    listed = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    built = {name for name in listed if name.startswith("build/") or ".egg-info/" in name}  # by the wheel of another test
    assert held - made == listed - built - {".gitignore"}


def test_tests_pass_in_the_unpacked_source_distribution(unpacked, tmp_path):
    """As a distributor runs them: installed from the distribution, with the tests beside."""
    site = tmp_path / "site"
    options = ("-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
    _run(sys.executable, "-m", "pip", "install", *options, str(unpacked))
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    code = "import hyperexec_env; print(hyperexec_env.__file__)"
    assert str(site) in _run(sys.executable, "-c", code, cwd=unpacked, env=environment)
    files = ("tests/test_architecture.py", "tests/market/test_volume.py", "tests/data/test_blocks.py")
    said = _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, cwd=unpacked, env=environment)
    assert "100%" in said


def test_only_one_name_is_installed(wheel):
    assert {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} == {"hyperexec_env"}


def test_the_core_needs_gymnasium_and_numpy_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("=")[0].strip() for requirement in project["dependencies"]}
    assert names == {"gymnasium", "numpy"}
    assert project["requires-python"] == ">=3.11"


def _lower_bounds():
    """Return the lowest version of each package that the project allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)", item) for group in groups for item in group]
    return {match[1]: match[2] for match in found if match}


def test_every_lower_bound_is_the_version_that_the_lowest_test_line_installs():
    """`.ci/lowest` installs constraints-lowest.txt and runs the tests of the tier `fast`."""
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))

    def parts(version):  # 2.7 is 2.7.0
        return re.sub(r"(\.0)+$", "", version)

    bounds = _lower_bounds()
    assert {name: parts(pinned[name]) for name in bounds} == {name: parts(version) for name, version in bounds.items()}
    assert "constraints-lowest.txt" in (ROOT / ".ci" / "lowest").read_text()


def test_the_classifiers_name_every_python_from_the_lowest_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [word.rpartition(" ")[2] for word in project["classifiers"] if re.search(r":: 3\.\d+$", word)]
    assert named[0] == project["requires-python"].removeprefix(">=")
    assert named == [f"3.{minor}" for minor in range(11, 11 + len(named))]
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in named


def test_the_constraints_pin_torch():
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().split()


@pytest.mark.fast
def test_every_file_names_the_version():
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    changelog = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    maintenance = re.search(r"tag `v(.*?)`", (ROOT / "docs" / "explanation" / "maintenance.md").read_text(encoding="utf-8"))
    assert {citation[1], changelog[1], maintenance[1]} == {__version__}
