"""The examples of the README and of the pages that are not executed by the build of the documentation print what is said."""

import contextlib
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest

from hyperexec_env import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "docs" / "data.md", *sorted(ROOT.glob("docs/howto/*.md")), *sorted(ROOT.glob("docs/explanation/*.md"))]
TEXT = "\n## ".join([README, *(page.read_text(encoding="utf-8") for page in PAGES)])


def _examples():
    """Each example: its program and what the page says that it prints (a text block that follows before the next program)."""
    for found in re.finditer(r"```python\n(.*?)```(.*?)(?=```python|\Z)", TEXT, re.DOTALL):
        said = re.search(r"```text\n(.*?)```", found[2].split("\n## ")[0], re.DOTALL)
        yield found[1], said[1] if said else ""


EXAMPLES = list(_examples())
COMMANDS = re.findall(r"```bash\n(hyperexec [^\n]*)\n```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
"""Commands that the pages show with what they print."""


def test_the_readme_has_examples_of_every_part():
    programs = "".join(program for program, _ in EXAMPLES)
    for word in ("gym.make", "evaluate(", "ExecutionAgent", "estimate_impact", "estimate_schedule", "preset("):
        assert word in programs
    assert sum(bool(said) for _, said in EXAMPLES) >= 3


@pytest.mark.renewed_by("run the example, and copy what it prints into the page")
@pytest.mark.parametrize(("program", "said"), EXAMPLES, ids=[program.split("\n")[0][:50] for program, _ in EXAMPLES])
def test_an_example_prints_what_the_readme_says(program, said, tmp_path, monkeypatch):
    if "onnx" in program:
        pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own text
    _held(said, printed.getvalue())


def _held(said, printed):
    """Every line that the README shows was printed; a line of three dots stands for lines that it leaves out."""
    lines = ["...", *(line.rstrip() for line in printed.splitlines())]
    for line in filter(None, map(str.rstrip, said.splitlines())):
        assert line in lines, f"not printed: {line!r}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param(command, said, id=command[:40], marks=pytest.mark.renewed_by(f"{command} # copied into the page"))
        for command, said in COMMANDS
    ],
)
def test_a_command_prints_what_the_readme_says(command, said, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    if command.startswith("hyperexec onnx"):
        pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(command)[1:]) == int("NOT SOUND" in said)
    _held(said, capsys.readouterr().out)


def test_the_readme_shows_a_report_of_a_desks_own_fills():
    assert any(command.startswith("hyperexec tca") and "shortfall" in said for command, said in COMMANDS)


@pytest.mark.renewed_by("python benchmarks/example_order.py")
def test_the_synthetic_order_of_the_readme_can_be_made_again(tmp_path):
    script = tmp_path / "example_order.py"
    script.write_bytes((ROOT / "benchmarks" / "example_order.py").read_bytes())
    runpy.run_path(str(script), run_name="__main__")
    for name in ("example_bars.csv", "example_fills.csv"):
        assert (tmp_path / name).read_bytes() == (ROOT / "benchmarks" / name).read_bytes()
