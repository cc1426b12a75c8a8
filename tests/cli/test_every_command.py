"""Every command: its help, a tiny run as text and as JSON, a wrong argument; and what a new one takes."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hyperexec_env import cli
from hyperexec_env.cli import _command
from hyperexec_env.files import check_target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BARS, FILLS = str(BENCHMARKS / "example_bars.csv"), str(BENCHMARKS / "example_fills.csv")
QUICK = "--lanes 4 --hidden 4 --out run --no-progress"
REPLAY = f"{QUICK} --timesteps 40 --learning-starts 10 --batch-size 4 --gradient-steps 1 --buffer-size 100 --no-tensorboard"

TINY = {
    "leaderboard": "--training-seeds 0 --episodes 20 --no-optimum --no-progress",
    "evaluate": "--scenario almgren-chriss --policy TWAP --episodes 10",
    "train ppo": f"{QUICK} --timesteps 104 --steps 26 --batch-size 26 --epochs 1 --no-tensorboard",
    "train pathwise": f"{QUICK} --steps 1 --validation 4",
    "train sac": REPLAY,
    "train dqn": f"{REPLAY} --target-interval 10",
    "export": "model.zip --algorithm ppo --out run --trust-pickle",
    "scenarios": "",
    "solve": "almgren-chriss",
    "card": "almgren-chriss",
    "certify": "almgren-chriss --trips 1000",
    "estimate": "--scenario almgren-chriss --algorithm TWAP",
    "calibrate": f"{BARS} --stamp start --out mine.toml",
    "tca": f"{FILLS} --market {BARS}",
    "stealth": "--factors 0 1 --episodes 20",
    "bench": "--agent --rounds 1 --seconds 0.001",
}
"""A run of each command that takes a second or so."""
NEEDS = {"leaderboard": "matplotlib", "export": "stable_baselines3"} | dict.fromkeys(
    ("train ppo", "train sac", "train dqn", "train pathwise"), "stable_baselines3"
)


def run(capsys, *words):
    """Run a command in this process; return its exit code, standard output and standard error."""
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in, and nothing that takes long: no compiled loops, few tapes for the study of hiding."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.setattr("hyperexec_env.baselines.stealth.THRESHOLD_TAPES", 100)
    return tmp_path


def prepare(command):
    """Skip where an extra is missing; make what the command reads."""
    if command in NEEDS:
        pytest.importorskip(NEEDS[command])
    if command == "export":
        import gymnasium as gym
        from stable_baselines3 import PPO

        PPO("MlpPolicy", gym.make("HyperExec-v0"), n_steps=8, batch_size=8, device="cpu").save("model.zip")


def test_every_command_has_a_tiny_run():
    assert {" ".join(key) for key in cli.commands()} == set(TINY)


def test_its_help_has_what_it_does_and_every_option(capsys):
    for command in TINY:
        code, out, err = run(capsys, *command.split(), "--help")
        assert (code, err) == (0, "")
        assert out.startswith(f"usage: hyperexec {command} ")
        assert "--json [FILE]" in out
        script = sys.modules[cli.commands()[tuple(command.split())]]
        assert script.__doc__.split()[0] in out


@pytest.mark.parametrize("command", TINY)
def test_a_tiny_run_ends_well_as_text_and_as_json(command, capsys, folder):
    prepare(command)
    words = [*command.split(), *TINY[command].split()]
    code, out, _ = run(capsys, *words, "--json", "result.json")
    assert code == 0
    assert out.strip()
    plain = json.loads(Path("result.json").read_text())
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    assert set(json.loads(out)[0] if command == "scenarios" else json.loads(out)) == set(
        plain[0] if command == "scenarios" else plain
    )


def test_a_wrong_argument_is_one_line_and_exit_code_2(capsys, folder):
    for command in TINY:
        code, out, err = run(capsys, *command.split(), *TINY[command].split(), "--no-such-option")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"hyperexec {command}: error: unrecognized arguments: --no-such-option")
        assert list(folder.iterdir()) == []


def test_json_that_cannot_be_written_is_refused_before_the_work(capsys, folder, monkeypatch):
    for command in TINY:
        script = importlib.import_module(cli.commands()[tuple(command.split())])
        monkeypatch.setattr(script, "main", lambda args: pytest.fail("worked"))
        code, out, err = run(capsys, *command.split(), *TINY[command].split(), "--json", "no/such/x.json")
        assert (code, out) == (2, "")
        assert err == f"hyperexec: error: cannot write no/such/x.json: there is no folder {folder.resolve() / 'no/such'}\n"


def test_the_list_of_commands_is_in_order_and_imports_none_of_them():
    show = "print(*(name for name in sys.modules if name.startswith('hyperexec_env')), file=sys.stderr)"
    code = f"import sys\nfrom hyperexec_env.cli import main\ntry:\n    main(['--help'])\nfinally:\n    {show}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed = [line for line in done.stdout.splitlines() if line.startswith("    ") and line[4] != " "]
    assert [next(name for name in TINY if line[4:].startswith(name)) for line in listed] == list(TINY)
    light = {f"hyperexec_env.{name}" for name in ("version", "cli", "arguments", "checks", "extras")}
    assert set(done.stderr.split()) <= light | {"hyperexec_env"}


HELLO = '''"""Greet a trader: one line.

More about it.
"""

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec say hello``."""

    name: str = option("trader", "who is greeted", positional=True)


def main(args):
    """Greet."""
    print("on the way")
    return Report(f"hello {args.name}", {"greeted": args.name}, 3)
'''


def test_a_new_command_is_one_file(capsys, tmp_path, monkeypatch):
    (tmp_path / "say_hello.py").write_text(HELLO)
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "hyperexec_env.cli.say_hello", raising=False)
    assert cli.commands()["say", "hello"] == "hyperexec_env.cli.say_hello"
    assert "Greet a trader" in run(capsys, "--help")[1].splitlines()[-5]
    assert run(capsys, "say", "hello", "you") == (3, "on the way\nhello you\n", "")
    assert run(capsys, "say", "hello", "--json") == (3, '{\n  "greeted": "trader"\n}\n', "on the way\n")
    assert "did you mean 'say hello'?" in run(capsys, "say", "helo")[2]
    monkeypatch.delitem(sys.modules, "hyperexec_env.cli.say_hello")


def test_no_result_replaces_an_input_or_another_result(capsys, folder):
    Path("mine.toml").write_text('base = "almgren-chriss"\nname = "mine"\n')
    for words in (("card", "mine.toml"), ("solve", "./mine.toml"), ("evaluate", "--scenario", "mine.toml")):
        assert "it is one of the files that are read" in run(capsys, *words, "--json", "mine.toml")[2]
    both = ("calibrate", BARS, "--stamp", "start", "--out", "new.toml", "--json", "./new.toml")
    assert run(capsys, *both)[2] == "hyperexec: error: json and out must be two files, got 'new.toml' twice\n"
    assert run(capsys, "stealth", "--plot", "-")[2] == "hyperexec: error: plot must be a file, got '-'\n"
    assert [path.name for path in folder.iterdir()] == ["mine.toml"]


def test_the_checks_of_files_stand_in_one_place():
    """A command file names its files; it checks none of them."""
    for module in Path(cli.__file__).parent.glob("[!_]*.py"):
        assert "check_target" not in module.read_text()
    assert _command.check_target is check_target
