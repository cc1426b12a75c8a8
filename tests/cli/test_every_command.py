"""Every command: its help, a tiny run as text and as JSON, a wrong argument; and what a new one takes."""

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.arguments import Parser, add_arguments
from hyperexec_env.cli import _command, _signals
from hyperexec_env.execution.journal import LiveDesk
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.scenario import Scenario, load_scenario
from hyperexec_env.training.interruption import Interrupted, Signals

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BARS, FILLS = str(BENCHMARKS / "example_bars.csv"), str(BENCHMARKS / "example_fills.csv")
QUICK = "--lanes 4 --hidden 4 --out run --overwrite --no-progress"
UNIVERSAL = "--steps 1 --markets 2 --pool 3 --validation 64"
REPLAY = f"{QUICK} --timesteps 40 --learning-starts 10 --batch-size 4 --gradient-steps 1 --buffer-size 100 --no-tensorboard"

TINY = {
    "leaderboard": "--training-seeds 0 --episodes 20 --no-optimum --no-progress",
    "evaluate": "--scenario almgren-chriss --policy TWAP --episodes 10",
    "train ppo": f"{QUICK} --timesteps 104 --steps 26 --batch-size 26 --epochs 1 --no-tensorboard",
    "train ppo-fast": f"{QUICK} --timesteps 104 --paired 2 --batch-size 26 --epochs 1",
    "train pathwise": f"{QUICK} --steps 1 --validation 4",
    "train universal": f"{UNIVERSAL} --lanes 4 --hidden 4 --out run --overwrite --no-progress",
    "train sac": REPLAY,
    "train dqn": f"{REPLAY} --target-interval 10",
    "tune": "pathwise --trials 2 --batch 2 --rungs 2 --reduction 2 --episodes 32 --out study --no-progress "
    "--vary hidden=4,5 --set steps=2 lanes=4 validation=4",
    "export": "model.zip --algorithm ppo --out run --overwrite --trust-pickle",
    "onnx": "linearised --scenario almgren-chriss --out policy.onnx",
    "submit": "even --out even.submission.zip",
    "bundle": "even.submission.zip --scenario almgren-chriss --policy TWAP --episodes 4 --no-optimum --out x.zip --trust-code",
    "verify": "even.submission.zip",
    "site": "boards --date 2026-11-30",
    "scenarios": "",
    "solve": "almgren-chriss",
    "trace": "almgren-chriss --policy TWAP",
    "card": "almgren-chriss",
    "certify": "almgren-chriss --trips 1000",
    "frontier": "almgren-chriss --policy TWAP --episodes 10",
    "audit env": "hyperexec_env:HyperExec-v0 --set scenario=almgren-chriss --episodes 10",
    "audit policy": "TWAP --scenario almgren-chriss --episodes 50",
    "audit results": "results.csv",
    "audit data": BARS,
    "estimate": "--scenario almgren-chriss --algorithm TWAP",
    "data check": BARS,
    "data layouts": "",
    "calibrate": f"{BARS} --stamp start --out mine.toml",
    "measure": f"--bars {BARS} --out mine.toml",
    "learn": f"{FILLS} --prior regime-day --bars {BARS} --out mine.toml",
    "realism": f"regime-day --data {BARS}",
    "replay": f"{BARS} --policy TWAP --train 0.4 --validation 0",
    "tca": f"{FILLS} --market {BARS}",
    "journal": "session.jsonl",
    "stealth": "--factors 0 1 --episodes 20",
    "bench": "--agent --rounds 1 --seconds 0.001",
}
"""A run of each command that takes a second or so."""
LISTS = ("scenarios", "data layouts")
"""Commands whose JSON is a list."""
NEEDS = {"leaderboard": "matplotlib", "tune": "optuna", "export": "stable_baselines3", "onnx": "onnxruntime"} | dict.fromkeys(
    ("train ppo", "train sac", "train dqn", "train ppo-fast", "train pathwise", "train universal"), "stable_baselines3"
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
    if command == "audit results":
        Path("results.csv").write_text(
            "policy,episode,cost\n" + "".join(f"TWAP,{k},{k % 7}\nPOV,{k},{k % 5}\n" for k in range(60))
        )
    if command in ("submit", "bundle", "verify", "site"):
        Path("even").mkdir(exist_ok=True)
        Path("even/card.toml").write_text('name = "Even"\nauthors = ["A"]\nmethod = "equal slices"\nlicence = "MIT"\n')
        Path("even/policy.py").write_text("def decide(p, s): return s.remaining / (s.market.slices - s.k)\n")
        hx.pack_folder("even", "even.submission.zip")
    if command == "site" and not Path("boards").exists():
        Path("boards").mkdir()
        options = {"policies": "TWAP", "episodes": 4, "optimum": False, "trust_code": True}
        Path("boards/x.zip").write_bytes(hx.make_bundle("even", "almgren-chriss", **options)[0])
    if command == "export":
        import gymnasium as gym
        from stable_baselines3 import PPO

        PPO("MlpPolicy", gym.make("HyperExec-v0"), n_steps=8, batch_size=8, device="cpu").save("model.zip")
    if command == "journal" and not Path("session.jsonl").exists():
        desk = LiveDesk(seed=1, journal="session.jsonl")
        desk.submit(hx.ParentOrder(symbol="X", side=1, quantity=100, arrival_price=10.0, deadline=60.0), 0.0)
        for second in range(60):
            for child in desk.timer(float(second)):
                desk.fill(child.id, child.quantity, 10.0, float(second))
        desk.stop(60.0)


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
    assert set(json.loads(out)[0] if command in LISTS else json.loads(out)) == set(plain[0] if command in LISTS else plain)


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
    assert [next(name for name in TINY if f"{line[4:]} ".startswith(f"{name} ")) for line in listed] == list(TINY)
    light = {f"hyperexec_env.{name}" for name in ("version", "cli", "cli._signals", "arguments", "checks", "extras")}
    assert set(done.stderr.split()) <= light | {"hyperexec_env"}


def test_the_help_of_a_first_word_lists_its_commands(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["train", "--help"])
    said = capsys.readouterr().out
    assert done.value.code == 0
    assert all(f"    {command}" in said for command in TINY if command.startswith("train "))
    assert "evaluate" not in said


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


USING = [
    ("card mine.toml", "base.toml"),
    ("solve ./mine.toml", "mine.toml"),
    ("certify base.toml", "link.toml"),
    ("estimate --scenario mine.toml", "hard.toml"),
    ("stealth --scenario mine.toml", "mine.toml"),
    ("evaluate --scenario mine.toml", "base.toml"),
    ("evaluate --store new.sqlite", "./new.sqlite"),
    ("evaluate --store new.sqlite", "new.sqlite-wal"),
    ("evaluate --policy TWAP --policy policy POV", "policy/policy.json"),
    ("evaluate --policy TWAP --policy policy POV", "./policy/policy.safetensors"),
    ("leaderboard --scenario mine.toml", "base.toml"),
    ("leaderboard --out board --store new.sqlite", "new.sqlite-shm"),
    ("leaderboard --out board", "board/results.sqlite"),
    ("leaderboard --out board", "board/policies/ppo-regime-day-0/policy.json"),
    ("leaderboard --out board --scenario almgren-chriss", "board/almgren-chriss.json"),
    ("train ppo --scenario mine.toml", "base.toml"),
    ("train pathwise --out board", "board/policy.safetensors"),
    ("train ppo-fast --seeds 2 --out board", "board/checkpoints/x.json"),
    ("train sac --out board", "board/scenario.toml"),
    ("train dqn --out board", "board/checkpoints/x.json"),
    ("export model.zip --algorithm ppo --out board", "board/policy.json"),
    ("export model.zip --algorithm ppo --out board", "model.zip"),
    ("submit policy --out new.zip", "policy/policy.json"),
    ("submit policy --out new.zip", "policy/card.toml"),
    ("bundle model.zip --out new.zip", "model.zip"),
    ("bundle policy --out new.zip --scenario mine.toml", "base.toml"),
    ("verify model.zip", "model.zip"),
    ("calibrate bars.csv --stamp start --out new.toml", "bars.csv"),
    ("tca fills.csv --market bars.csv", "bars.csv"),
]
"""Command lines, and a target that each of them must refuse because the command reads or writes it."""


@pytest.mark.parametrize(("words", "target"), USING)
def test_no_result_replaces_a_file_that_the_command_uses(words, target, capsys, folder, monkeypatch):
    for name in ("board/policies/ppo-regime-day-0", "board/checkpoints", "policy"):
        Path(name).mkdir(parents=True)
    for name in ("model.zip", "bars.csv", "fills.csv", "policy/policy.json", "policy/card.toml"):
        Path(name).write_text("kept")
    Path("base.toml").write_text('base = "almgren-chriss"\n')
    Path("mine.toml").write_text('base = "base.toml"\nname = "mine"\n')
    Path("link.toml").symlink_to("base.toml")
    os.link("mine.toml", "hard.toml")
    command = next(name for name in TINY if f"{words} ".startswith(f"{name} "))
    script = importlib.import_module(cli.commands()[tuple(command.split())])
    monkeypatch.setattr(script, "main", lambda args: pytest.fail("worked"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, err = run(capsys, *words.split(), "--json", target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"cannot write {target}: it is one of the files that are " in err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture
def little_garbage():
    """Leave out of collections, of which each signal causes one, everything that other tests have made."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("little_garbage")
def test_sigterm_ends_every_command_with_one_line_and_no_file(capsys, folder, monkeypatch):
    def half_way(args):
        with pytest.MonkeyPatch.context() as patch:  # the signal arrives while a file is written
            patch.setattr(os, "replace", lambda *names: os.kill(os.getpid(), signal.SIGTERM))
            write_atomically("result.json", "half")
        pytest.fail("went on")

    for command in TINY:
        script = importlib.import_module(cli.commands()[tuple(command.split())])
        monkeypatch.setattr(script, "main", half_way)
        assert run(capsys, *command.split(), *TINY[command].split()) == (143, "", "terminated\n")
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert list(folder.iterdir()) == []


def swallow_in_c(number):
    """Receive a signal in Python code that C calls, as a compiler does: ctypes swallows the exception."""
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), number))()


def swallow_in_python(number):
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), number)


SWALLOWED = [(number, swallow) for number in (signal.SIGINT, signal.SIGTERM) for swallow in (swallow_in_c, swallow_in_python)]


@pytest.fixture
def soon(monkeypatch):
    """The SIGINT handler of an ordinary process, also where the tests run in the background; and short times of waiting."""
    monkeypatch.setattr(_signals, "_AGAIN", 0.05)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_new_file_in_the_folder_of_a_policy_is_written(capsys, folder):
    """A command reads the two files of a policy, and no other file of the folder."""
    network = pytest.importorskip("hyperexec_env.evaluation.network")
    pytest.importorskip("safetensors")
    trained = network.load_policy(Path(__file__).parents[1] / "data" / "ppo-regime-day")
    Path("policy").mkdir()
    network.save_policy(trained, Path("policy"))
    Path("policy/scenario.toml").write_text("old")
    words = ("evaluate", "--policy", "policy", "--episodes", "4", "--no-optimum", "--json")
    for name in ("new.json", "scenario.toml"):
        assert run(capsys, *words, f"policy/{name}")[0] == 0
        assert json.loads(Path("policy", name).read_text())["episodes"] == 4


@pytest.mark.parametrize(("number", "swallow"), SWALLOWED)
def test_a_signal_that_c_code_swallows_still_ends_a_command(number, swallow, capsys, folder, monkeypatch, soon):
    def half_way(args):
        def replace(*names):
            swallow(number)
            time.sleep(10.0)
            pytest.fail("went on")

        monkeypatch.setattr(os, "replace", replace)
        write_atomically("result.json", "half")

    said = (128 + number, "", {signal.SIGINT: "interrupted\n", signal.SIGTERM: "terminated\n"}[number])
    script = importlib.import_module("hyperexec_env.cli.card")
    monkeypatch.setattr(script, "main", half_way)
    assert run(capsys, "card") == said
    assert list(folder.iterdir()) == []
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == [
        signal.default_int_handler,
        signal.SIG_DFL,
    ]


@pytest.mark.parametrize(("number", "swallow"), SWALLOWED)
def test_a_command_that_goes_on_after_a_swallowed_signal_ends_with_its_code(number, swallow, capsys, folder, monkeypatch, soon):
    def fail(args):
        swallow(number)
        raise ValueError("the compiler is confused")

    script = importlib.import_module("hyperexec_env.cli.card")
    original = script.main
    monkeypatch.setattr(script, "main", lambda args: (swallow(number), original(args))[1])
    said = {signal.SIGINT: "interrupted\n", signal.SIGTERM: "terminated\n"}[number]
    code, _, err = run(capsys, "card", "almgren-chriss")
    assert (code, err) == (128 + number, said)
    monkeypatch.setattr(script, "main", fail)
    assert run(capsys, "card", "almgren-chriss") == (128 + number, "", said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_swallowed_signal_reaches_a_training_that_begins_after_it_once(number, capsys, folder, monkeypatch, soon):
    def train(args):
        swallow_in_c(number)
        with Signals() as signals:
            until = time.monotonic() + 10.0
            while not signals.received and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.3)  # a second SIGINT would end the training without a checkpoint
        raise Interrupted(signals.received)

    script = importlib.import_module("hyperexec_env.cli.card")
    monkeypatch.setattr(script, "main", train)
    assert run(capsys, "card") == (128 + number, "", "")


def test_an_object_that_a_signal_left_half_made_is_not_reported(capsys, folder, monkeypatch, soon):
    """A compiler makes objects whose destructors need what their constructors were about to set."""

    class Made:
        def __init__(self):
            self.self = self  # in a circle, which is collected late
            os.kill(os.getpid(), signal.SIGTERM)
            self.handle = 1

        def __del__(self):
            del self.handle

    script = importlib.import_module("hyperexec_env.cli.card")
    monkeypatch.setattr(script, "main", lambda args: Made())
    assert run(capsys, "card") == (143, "", "terminated\n")


def test_a_repeated_signal_lets_the_command_clean_up(capsys, folder, monkeypatch, soon):
    cleaned = []

    def slow_to_end(args):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            with contextlib.suppress(ValueError):  # an error of its own, while the signal is handled
                raise ValueError
            time.sleep(0.5)
            cleaned.append(True)

    script = importlib.import_module("hyperexec_env.cli.card")
    monkeypatch.setattr(script, "main", slow_to_end)
    assert run(capsys, "card") == (143, "", "terminated\n")
    assert cleaned == [True]


HOSTILE = {
    "pipe": os.mkfifo,
    "endless": lambda name: os.symlink("/dev/zero", name),
    "circle": lambda name: os.symlink(name, name),
    "folder": os.mkdir,
    "empty": lambda name: Path(name).touch(),
    "bytes": lambda name: Path(name).write_bytes(bytes(range(256)) * 10),
    "deep": lambda name: Path(name).write_text("x = " + "[" * 10_000),
    "unknown": lambda name: Path(name).write_text("quantty = 5\n"),
    "nan": lambda name: Path(name).write_text("quantity = nan\n"),
}
READS = {"scenario": ".toml", "input": ".csv", "store": ".sqlite"}
"""Role of an option that names a file which a command reads -> end of the name."""


BESIDE = {
    ("learn", "trades"): "--quotes {0}",
    ("learn", "quotes"): "--trades trades.csv",
    ("learn", "book"): "{0}",
    ("measure", "trades"): "--quotes {0}",
    ("measure", "quotes"): "--trades trades.csv",
    ("measure", "book"): "{0}",
    ("realism", "trades"): "--quotes {0}",
    ("realism", "quotes"): "--trades trades.csv",
}
"""Words that an option needs beside it; {0} is its file."""
INSTEAD = {("leaderboard", "replay"): "--training-seeds 0 --no-progress"}
"""Words of a tiny run with an option that excludes those of :data:`TINY`."""


def reading(command, name, kind):
    """Return the words of a tiny run of a command, in which one option names a hostile file."""
    words = INSTEAD.get((command, name), TINY[command]).split()
    script = importlib.import_module(cli.commands()[tuple(command.split())])
    positional = [item.name for item in fields(script.Args) if item.metadata.get("positional")]
    option = "--" + name.replace("_", "-")
    if name in positional:
        words[positional.index(name)] = kind
    elif option in words:
        words[words.index(option) + 1] = kind
    else:
        words += [option, kind]
    return [*command.split(), *words, *BESIDE.get((command, name), "").format(kind).split()]


ROLES = [
    (command, item.name, item.metadata["file"])
    for command, module in ((" ".join(key), module) for key, module in cli.commands().items())
    if all(map(importlib.util.find_spec, [NEEDS.get(command, "numpy")]))
    for item in fields(importlib.import_module(module).Args)
    if item.metadata.get("file") in READS
]
"""(command, option, role) of every option that names a file which is read."""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
@pytest.mark.parametrize(("command", "name", "role"), ROLES)
def test_a_hostile_file_is_one_line_within_seconds(command, name, role, capsys, folder):
    prepare(command)
    Path("trades.csv").write_text("ts,price,size\n2026-03-02T10:00:00,100,5\n2026-03-02T10:00:01,100,5\n")
    for kind, make in HOSTILE.items():
        if (kind, role) == ("empty", "store"):  # which is a new store
            continue
        file = f"{kind}{READS[role]}"
        make(file)
        before, started = set(folder.iterdir()), time.process_time()
        code, out, err = run(capsys, *reading(command, name, file))
        assert (code, out, err.count("\n")) == (2, "", 1), (kind, err)
        assert len(err) <= 540
        assert file in err
        assert time.process_time() - started < 5.0
        assert set(folder.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", TINY)
def test_a_full_standard_output_is_one_line(command, capsys, folder, monkeypatch):
    prepare(command)
    tiny = (*command.split(), *TINY[command].split())
    for words in (tiny, (*tiny, "--json"), (*command.split(), "--help"), ("--help",), ("--version",)):
        with open("/dev/full", "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            code, _, err = run(capsys, *words)
        assert (code, err.splitlines()[-1]) == (2, "hyperexec: error: No space left on device"), words
        assert "Traceback" not in err


def test_a_name_that_is_too_long_is_one_short_line_in_every_command(capsys, folder):
    """Over 255 bytes for a file, over the length of a line for anything else."""
    long = "x" * 300
    lines = [(command, *TINY[command].split(), "--json", long) for command in TINY]
    lines += [(f"{command} {long}.toml",) for command in ("card", "solve", "certify")]
    lines += [(f"{command} --scenario {long}.toml",) for command in ("evaluate", "estimate", "leaderboard", "train ppo")]
    lines += [(f"{command} --out {long}",) for command in ("leaderboard", "train ppo", "train pathwise")]
    lines += [(f"evaluate {option} {long}",) for option in ("--store", "--policy", f"--{long}", long * 10_000)]
    lines += [(f"calibrate {long}.csv --stamp start --out a.toml",), (f"tca {long}.csv --market {long}.csv",), (long * 100,)]
    lines += [(f"stealth --plot {long}.png",), (f"leaderboard --verify --store {long}",)]
    for words in lines:
        code, out, err = run(capsys, *" ".join(words).split())
        assert (code, out, err.count("\n")) == (2, "", 1), words
        assert len(err) <= 540
        assert list(folder.iterdir()) == []


def test_control_characters_do_not_reach_the_terminal(capsys, folder):
    """From the command line, and from the texts of a scenario file."""
    Path("mine.toml").write_text(
        'base = "almgren-chriss"\ndescription = "\\u001b[31m"\n[provenance]\n"\\u001b[1m" = "\\u0007\\n"\n'
    )
    code, out, _ = run(capsys, "card", "mine.toml")
    assert code == 0
    assert r"\x1b[31m" in out
    assert not set(out) & {"\x1b", "\x07"}
    for words in (("\x1b[31m",), ("card", "\x1b[31m"), ("evaluate", "--policy", "\x1b[31m"), ("evaluate", "--\x1b[31m")):
        code, out, err = run(capsys, *words)
        assert (code, out) == (2, "")
        assert r"\x1b[31m" in err
        assert "\x1b" not in err


def test_a_market_whose_price_falls_below_zero_says_so_on_the_card_and_in_every_run(capsys, folder):
    Path("wild.toml").write_text('base = "almgren-chriss"\nname = "wild"\nvolatility = 2\n')
    said = "the price falls below zero with a probability of up to"
    evaluating = "evaluate --scenario wild.toml --policy TWAP --episodes 4 --no-optimum"
    for words in ("card wild.toml", "certify wild.toml --trips 1000", evaluating):
        code, out, err = run(capsys, *words.split())
        assert (code, out.count(f"WARNING: {said}"), err.count(said)) == (0, 1, 0)
    for words in ("solve wild.toml", "estimate --scenario wild.toml --algorithm TWAP --episodes 9"):
        code, out, err = run(capsys, *words.split())
        assert (code, out.count(said), err.count(f"WARNING: {said}")) == (0, 0, 1), words
    for make in (hx.make, hx.make_vec):
        with pytest.warns(UserWarning, match=said):
            make("wild.toml")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(capsys, folder, monkeypatch):
    for command in ("leaderboard", "train ppo", "train ppo-fast", "train sac", "train dqn", "train pathwise", "export"):
        script = importlib.import_module(cli.commands()[tuple(command.split())])
        monkeypatch.setattr(script, "main", lambda args: pytest.fail("worked"))
        code, out, err = run(capsys, *command.split(), *TINY[command].split(), "--out", "/proc/x")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("hyperexec: error: cannot make the folder /proc/x")


def test_the_file_of_a_user_stays_where_a_run_writes_its_scenario(folder):
    folder_module = pytest.importorskip("hyperexec_env.training.folder")
    scenario = Scenario.from_dict({"base": "almgren-chriss", "name": "mine"})
    Path("scenario.toml").write_text('# my own words\nbase = "almgren-chriss"\nname = "mine"\n')
    folder_module.save_scenario(scenario, folder)
    assert "my own words" in Path("scenario.toml").read_text()
    folder_module.save_scenario(replace(scenario, quantity=5.0), folder)
    assert load_scenario("scenario.toml").quantity == 5.0


def test_an_option_that_takes_several_values_adds_up(capsys, folder):
    words = ("evaluate", "--policy", "VWAP", "--policy", "POV", "AC", "--episodes", "10", "--no-optimum", "--json")
    assert {row["policy"] for row in json.loads(run(capsys, *words)[1])["rows"]} == {"VWAP", "POV", "AC"}
    for command in TINY:
        script = importlib.import_module(cli.commands()[tuple(command.split())])
        several = [item.name for item in fields(script.Args) if "tuple" in str(item.type) and not item.metadata["positional"]]
        parser = Parser()
        add_arguments(parser, script.Args)
        required = [action for action in parser._actions if action.required or not action.option_strings]
        for action in required:
            action.required, action.nargs = False, "*" if not action.option_strings else action.nargs
        for name in several:
            option = "--" + name.replace("_", "-")
            each = next(item.metadata["each"] for item in fields(script.Args) if item.name == name)
            given = parser.parse_args([option, "1", option, "2", option, "3"] if each else [option, "1", "2", option, "3"])
            assert [float(value) for value in getattr(given, name)] == [1.0, 2.0, 3.0]


def test_no_result_replaces_another_result(capsys, folder):
    both = ("calibrate", BARS, "--stamp", "start", "--out", "new.toml", "--json", "./new.toml")
    assert run(capsys, *both)[2] == "hyperexec: error: json and out must be two files, got 'new.toml' twice\n"
    assert run(capsys, "stealth", "--plot", "-")[2] == "hyperexec: error: plot must be a file, got '-'\n"
    assert list(folder.iterdir()) == []


def test_the_checks_of_files_stand_in_one_place():
    """A command file names its files; it checks none of them."""
    for module in Path(cli.__file__).parent.glob("[!_]*.py"):
        assert "check_target" not in module.read_text()
    assert _command.check_target is check_target
