"""Pages of what a program reads and writes: the sections of the environment card, JSON keys and files; all from the code."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import sqlite3
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.baselines import closed_forms
from hyperexec_env.data.layouts import LAYOUTS
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.features import FEATURES
from hyperexec_env.envs.touch import HyperExecTouchEnv
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.execution.journal import EVENTS

ROOT = Path(__file__).parent.parent.parent
FENCE = "```"
SECTIONS = {
    "observations": ("Observation Space", "[](../../howto/environment.md) says how to hide the regime."),
    "actions": ("Action Space", "[](../../howto/environment.md) shows the options of `gym.make`."),
    "rewards": ("Rewards", "[](../../explanation/market.md) derives the objective."),
    "info": ("Information", "[](../../tutorials/first_order.md) reads the account of an order."),
}
"""Section of the environment card on each page, and where the reader goes from there."""


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each page."""
    parts = sections()
    yield "environment.md", card("HyperExec-v0", parts)
    yield "basket_environment.md", card("HyperExecBasket-v0", sections(HyperExecBasketEnv))
    yield "touch_environment.md", card("HyperExecTouch-v0", sections(HyperExecTouchEnv))
    yield "venues_environment.md", card("HyperExecVenues-v0", sections(HyperExecVenuesEnv))
    for name, (title, onward) in SECTIONS.items():
        example = live_observation() if name == "observations" else live_info() if name == "info" else ""
        yield f"{name}.md", "\n\n".join([f"# {name.capitalize()}", parts[title], *filter(None, [example]), onward, ""])
    yield "json.md", json_keys()
    yield "files.md", files()
    yield "published.md", published()


def card(name: str, parts: dict[str, str]) -> str:
    """Return the page of an environment, given its id and the sections of its card."""
    return "\n\n".join([f"# {name}", *(f"## {title}\n\n{text}" for title, text in parts.items()), ""])


def sections(environment: type = hx.HyperExecEnv) -> dict[str, str]:
    """Return the sections of the card of an environment, by title; the arguments are a table."""
    text = inspect.cleandoc(environment.__doc__ or "")
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    found = {title: body.strip() for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    found = {"Description": f"{parts[0].strip()}\n\n{found.pop('Description')}", **found}
    found["Arguments"] = arguments(found["Arguments"])
    found["Example"] = f"{FENCE}pycon\n{found['Example']}\n{FENCE}"
    return found


def arguments(text: str) -> str:
    """Return the sections `Args` and `Raises` of a docstring as a table and a sentence."""
    listed, _, raised = text.partition("Raises:")
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", listed.partition("Args:")[2], flags=re.MULTILINE | re.DOTALL)
    rows = [f"| `{name}` | {' '.join(meaning.split())} |" for name, meaning in entries]
    return "\n".join(["| argument | meaning |", "| --- | --- |", *rows, "", f"Raises {' '.join(raised.split())}"])


def live_observation() -> str:
    """Return the observation at the start of an episode as a table, with the bounds of the space."""
    seen = hx.make("regime-day").reset(seed=0)[0]
    rows = [f"| {feature.name} | {value:.4f} |" for feature, value in zip(FEATURES, seen, strict=True)]
    head = ["## An example", "", '`hx.make("regime-day").reset(seed=0)` returns', "", "| name | value |", "| --- | --- |"]
    return "\n".join([*head, *rows])


def live_info() -> str:
    """Return the info at the end of an episode that stays on the schedule."""
    env, ended, info = hx.make("regime-day"), False, {}
    env.reset(seed=0)
    while not ended:
        *_, ended, _, info = env.step([0.0])
    text = json.dumps(info, indent=2, default=float)
    return f"## An example\n\nThe end of episode 0 of seed 0 of `regime-day`, on the schedule:\n\n{FENCE}json\n{text}\n{FENCE}"


REPORTS = {
    "evaluate --scenario regime-day --policy TWAP VWAP --episodes 100 --backend numpy": (
        "baselines.solver.solution.Solution",
        "evaluation.board.Board",
        "evaluation.board.Row",
    ),
    "solve regime-day": ("baselines.solver.solution.Solution",),
    "certify almgren-chriss --trips 1000": ("evaluation.certificate.Certificate", "evaluation.certificate.Trip"),
    "card regime-day": ("market.scenario.Scenario",),
    "scenarios": (),
    "estimate --scenario mid-cap --quantity 50000": ("execution.estimates.MarketImpactEstimate",),
    "tca benchmarks/example_fills.csv --market benchmarks/example_bars.csv --start 10:00 --deadline 14:00": (
        "execution.report.ExecutionReport",
    ),
    "data check benchmarks/example_bars.csv": ("data.sessions.BarReport",),
}
"""Commands whose JSON the page describes, and the classes whose docstrings say what a key means."""


def json_keys() -> str:
    """Return the page of the keys that commands write with ``--json``, read off what they write."""
    lines = ["# JSON keys", "", JSON_TEXT, ""]
    for words, classes in REPORTS.items():
        described = [attribute_docstrings(name) for name in classes] or [{}]
        top = {name: text for found in described for name, text in found.items()}
        lines += [f"## hyperexec {' '.join(word for word in words.split()[:2] if word.isalpha() and '-' not in word)}", ""]
        lines += [f"{FENCE}bash", f"hyperexec {words} --json", FENCE, "", "| key | type | meaning |", "| --- | --- | --- |"]
        for key, kind in keys(written(words.split())).items():
            last = re.split(r"[.\[]", key.removesuffix("[]"))[-1].removeprefix("].")
            meaning = (described[-1] if "[]." in key else top).get(last, "")  # the entries of lists are of the last class
            lines.append(f"| `{key}` | {kind} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


JSON_TEXT = """Every command takes `--json FILE`, and writes the numbers of its report under plain keys (`--json` alone writes
to standard output, and everything else to standard error). A key that ends with `_bps` holds basis points of the arrival
notional, `_percent` percent, `_low` and `_high` the ends of a 95 % interval. An unknown value is `null`. `[]` marks the
entries of a list, and `*` any name."""


def written(words: list[str]) -> Any:
    """Run a command in a temporary folder with ``--json``, and return what it wrote."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "benchmarks").symlink_to(ROOT / "benchmarks")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                if cli.main([*words, "--json", "out.json"]) != 0:
                    raise RuntimeError(f"hyperexec {' '.join(words)}: {said.getvalue()}")
            return json.loads(Path("out.json").read_text(encoding="utf-8"))
        finally:
            os.chdir(here)


def keys(value: Any, name: str = "") -> dict[str, str]:
    """Return the paths of the keys of a value, and the type of each."""
    found: dict[str, str] = {}
    if isinstance(value, dict) and value:
        names = list(value)
        if name and (any(not re.fullmatch(r"[a-z][a-z0-9_]*", each) for each in names)):
            return keys(next(iter(value.values())), f"{name}.*")
        for each in names:
            found |= keys(value[each], f"{name}.{each}" if name else each)
        return found
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        for entry in value:
            for key, kind in keys(entry, f"{name}[]").items():
                found.setdefault(key, kind)
        return found
    if isinstance(value, list):
        return {f"{name}[]": kind_of(value[0]) if value else "list"}
    return {name: kind_of(value)}


def kind_of(value: Any) -> str:
    """Return the JSON type of a value in words."""
    if value is None:
        return "null"
    return {bool: "true or false", int: "integer", float: "number", str: "text", dict: "object"}[type(value)]


def attribute_docstrings(name: str) -> dict[str, str]:
    """Return the first sentence of the docstring of each attribute and property of a class, or the meaning of its fields."""
    module, _, word = name.rpartition(".")
    found = getattr(importlib.import_module(f"hyperexec_env.{module}"), word)
    described: dict[str, str] = {}
    for field in getattr(found, "__dataclass_fields__", {}).values():
        if "meaning" in field.metadata:
            unit = f" [{field.metadata['unit']}]" if field.metadata["unit"] else ""
            described[field.name] = field.metadata["meaning"] + unit
    body = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0].body  # type: ignore[attr-defined]
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            described[statement.target.id] = first_sentence(after.value.value)  # type: ignore[union-attr]
        elif isinstance(statement, ast.FunctionDef) and (text := ast.get_docstring(statement)):
            described.setdefault(statement.name, first_sentence(text))
    return described


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring on one line, safe in a table."""
    line = " ".join(text.split())
    return re.split(r"(?<=[.;]) ", line, maxsplit=1)[0].rstrip(".;").replace("|", "or")


FILES = {
    "Scenario (TOML)": "market.scenario_file",
    "Trained policy (folder)": "evaluation.network",
    "Run of a training (folder)": "training.folder",
    "Checkpoint (safetensors)": "training.checkpoints",
    "Store of results (SQLite)": "evaluation.store",
    "Prepared days (parquet)": "data.replay",
    "Journal of the desk (JSON lines)": "execution.journal",
    "Layouts of market data": "data.layouts",
    "Blotter of executions": "data.blotter",
    "Instruments of a blotter": "data.listings",
    "Posterior of a measured scenario": "market.posterior",
}
"""Kinds of files, and the module that reads and writes each."""


def example_scenario() -> str:
    """Return the file of a registered scenario."""
    return f"An example, `almgren-chriss`:\n\n{FENCE}toml\n{hx.get_scenario('almgren-chriss').to_toml().strip()}\n{FENCE}"


def example_policy() -> str:
    """Return the description of a policy with one layer of zeros."""
    layers = ((np.zeros((1, len(FEATURES)), np.float32), np.zeros(1, np.float32)),)
    policy = hx.NetworkPolicy("schedule", layers, "tanh", "clip", "pace", observe_regime=True, training_seed=0)
    with tempfile.TemporaryDirectory() as folder:
        hx.save_policy(policy, Path(folder))
        text = (Path(folder) / "policy.json").read_text(encoding="utf-8").strip()
        names = ", ".join(f"`{path.name}`" for path in sorted(Path(folder).iterdir()))
    return f"The folder holds {names}. `policy.json` of a policy with one layer:\n\n{FENCE}json\n{text}\n{FENCE}"


def example_store() -> str:
    """Return the tables of a new store."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        with contextlib.closing(hx.Store(path)), contextlib.closing(sqlite3.connect(path)) as connection:
            tables = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")]
    return "\n".join([f"{FENCE}sql", *(re.sub(r", (?=\w+ [A-Z])", ",\n  ", sql) + ";" for sql in tables), FENCE])


def example_layouts() -> str:
    """Return the names of the layouts that the readers recognise, by kind of data."""
    kinds = dict.fromkeys(layout.kind for layout in LAYOUTS)
    rows = [
        f"| {kind} | {', '.join(dict.fromkeys(layout.name for layout in LAYOUTS if layout.kind == kind))} |" for kind in kinds
    ]
    return "\n".join(["| data | layouts that are recognised |", "| --- | --- |", *rows])


EXAMPLES = {
    "market.scenario_file": example_scenario,
    "evaluation.network": example_policy,
    "evaluation.store": example_store,
    "execution.journal": lambda: f"Events that a line records: {', '.join(f'`{event}`' for event in EVENTS)}.",
    "data.layouts": example_layouts,
}
"""Example of a file, or of its content, by the module that reads and writes it."""


def files() -> str:
    """Return the page of file formats: what the module of each format says about it, and an example of a scenario."""
    lines = ["# File formats", "", FILES_TEXT, ""]
    for title, name in FILES.items():
        text = inspect.cleandoc(importlib.import_module(f"hyperexec_env.{name}").__doc__ or "")
        text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
        lines += [f"## {title}", "", text, "", f"Module: `hyperexec_env.{name}`.", ""]
        if name in EXAMPLES:
            lines += [EXAMPLES[name](), ""]
    return "\n".join(lines)


FILES_TEXT = """A file that the package writes appears whole or not at all: it is written to a temporary file, synced, and
renamed. No pickle is ever read."""


def published() -> str:
    """Return the page of the closed forms: the paper of each, what its module states, and the tests of its numbers."""
    lines = ["# Closed forms and their tests", "", PUBLISHED_TEXT, ""]
    for name in sorted(found.name for found in pkgutil.iter_modules(closed_forms.__path__)):
        module = importlib.import_module(f"hyperexec_env.baselines.closed_forms.{name}")
        path, tests = tests_of(name)
        paper = " ".join((module.__doc__ or "").split("\n\n")[0].split())
        lines += [f"## {name}", "", paper, "", f"`{path.as_posix()}`:", "", *(f"- {test}" for test in tests), ""]
    return "\n".join(lines)


def tests_of(name: str) -> tuple[Path, list[str]]:
    """Return the file of the tests of a closed form, and the tests in words.

    The tests are those of the form's own file, or the tests that use the form in the one file that imports it.
    """
    tests, imported = ROOT / "tests" / "baselines", re.compile(rf"closed_forms import {name}(?: as (\w+))?$", re.MULTILINE)
    path, word = tests / "closed_forms" / f"test_{name}.py", ""
    if not path.exists():
        ((path, word),) = [
            (file, found[1] or name)
            for file in sorted(tests.rglob("test_*.py"))
            if (found := imported.search(file.read_text(encoding="utf-8")))
        ]
    named = [
        node.name.removeprefix("test_").replace("_", " ")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and (not word or f"'{word}'" in ast.dump(node))
    ]
    return path.relative_to(ROOT), named


PUBLISHED_TEXT = """Each module of `hyperexec_env.baselines.closed_forms` is one paper. Its tests, named below, hold the digits
that the paper prints, laws, and the agreement of the kernel with the formulas, where the kernel represents the model."""
