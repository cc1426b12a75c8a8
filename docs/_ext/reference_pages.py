"""Write the reference pages from the code, before Sphinx reads the sources: fields, commands, API, llms.txt."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import basket_pages
import interface_pages
import scenario_pages
import touch_pages
import venue_pages

import hyperexec_env as hx
from hyperexec_env.arguments import Parser, add_arguments
from hyperexec_env.cli import commands
from hyperexec_env.market.scenario import Scenario

GENERATED = "generated"
"""Folder of the generated pages, below the sources; git ignores it."""
FENCE = "```"


def setup(app: Any) -> dict[str, Any]:
    """Connect the generator to the build."""
    app.connect("builder-inited", lambda app: write_pages(Path(app.srcdir)))
    app.connect("build-finished", lambda app, error: error or write_llms(Path(app.srcdir), Path(app.outdir)))
    return {"parallel_read_safe": True}


def write_pages(source: Path) -> None:
    """Write all generated pages; a page whose content did not change keeps its time, so that Sphinx does not read it again."""
    folder = source / "reference" / GENERATED
    for name, content in pages(folder):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def pages(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each generated page."""
    yield from interface_pages.pages()
    yield "fields.md", scenario_fields()
    about = "One page for each registered scenario: one asset, then baskets, child orders at the touch, and orders over venues."
    yield "scenarios.md", index("Scenarios", about, [f"scenario/{name}" for name in makers()])
    for name, make in makers().items():
        yield f"scenario/{name}.md", make(name, folder / "scenario")
    listed = sorted(commands().items())
    words = [" ".join(command) for command, _ in listed]
    pages_of = [f"command/{word.replace(' ', '-')}" for word in words]
    yield "commands.md", index("Commands", EXIT_CODES, pages_of)
    for (command, module), page in zip(listed, pages_of, strict=True):
        yield f"{page}.md", command_help(command, module)
    yield "api.md", api()


def makers() -> dict[str, Callable[[str, Path], str]]:
    """Return the function that makes the page of each registered scenario, given the folder of its picture."""
    kinds = ((hx.basket_names(), basket_pages), (hx.touch_names(), touch_pages), (hx.venue_names(), venue_pages))
    others = {name: pages_of_kind.KIND.page for names, pages_of_kind in kinds for name in names}
    return dict.fromkeys(hx.scenario_names(), scenario_pages.page) | others


EXIT_CODES = """Every command takes `--help`, and `--json` (to a file, or to standard output). Results are written to a
temporary file, synced and renamed. Before the work, a command refuses a target that it cannot create, and one that would
replace a file that it reads.

## Exit codes

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | failure: a policy failed, a stored result differs, a market is not sound, data cannot be used |
| 2 | bad input, in one line on standard error; nothing was written |
| 130 | interrupted (Ctrl-C) |
| 143 | terminated (SIGTERM) |

## The commands
"""


def index(title: str, text: str, names: list[str]) -> str:
    """Return a page that lists other pages."""
    return "\n".join([f"# {title}", "", text, "", f"{FENCE}{{toctree}}", ":maxdepth: 1", "", *names, FENCE, ""])


def scenario_fields() -> str:
    """Return the table of the fields of a scenario."""
    rows = []
    for item in fields(Scenario):
        if not item.metadata:
            continue
        bounds = item.metadata.get("range")
        span = "" if not bounds else f"{'above' if bounds['open_low'] else 'from'} {bounds['low']:g} to {bounds['high']:g}"
        default = "" if item.default in (None, "", ()) else f"`{item.default}`"
        rows.append(f"| `{item.name}` | {item.metadata['meaning']} | {item.metadata['unit']} | {default} | {span} |")
    head = [
        "# Fields of a scenario",
        "",
        FIELDS,
        "",
        "| field | meaning | unit | default | range |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


FIELDS = """A scenario is a record (`hx.Scenario`), a dict or a TOML file with these fields. The key `base` names the scenario
that provides the fields that are not given; `[regimes]` holds the regimes, and `[provenance]` the source of each number."""


def command_help(words: tuple[str, ...], name: str) -> str:
    """Return the page of a command: its description and its options, as ``--help`` prints them."""
    module = importlib.import_module(name)
    parser = Parser(prog=f"hyperexec {' '.join(words)}", description=None, allow_abbrev=False)
    add_arguments(parser, module.Args)
    text = io.StringIO()
    os.environ["COLUMNS"] = "110"
    with contextlib.redirect_stdout(text):
        parser.print_help(text)
    description = inspect.cleandoc(module.__doc__ or "")
    return f"# hyperexec {' '.join(words)}\n\n{description}\n\n{FENCE}text\n{text.getvalue().strip()}\n{FENCE}\n"


def api() -> str:
    """Return the page of the public API, with one entry for each name of `hx`."""
    lines = ["# Python API", "", "`import hyperexec_env as hx`; `dir(hx)` lists these names.", ""]
    lines += [f"{FENCE}{{eval-rst}}"]
    for name in sorted(set(hx.__all__) - {"__version__"}, key=str.lower):
        value = getattr(hx, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            lines += [f".. {kind}:: hyperexec_env.{name}", *(["   :no-members:"] if kind == "autoclass" else []), ""]
    return "\n".join([*lines, FENCE, ""])


def write_llms(source: Path, out: Path) -> None:
    """Write llms.txt: one line for each page, with its title and address, for readers that are programs."""
    lines = [
        "# HyperExec",
        "",
        "> Optimal execution as a Gymnasium environment: market, baselines, exact optimum, training, leaderboard.",
        "",
    ]
    for path in sorted(set(source.rglob("*.md")) | set(source.glob("examples/*.rst"))):
        if not (out / path.relative_to(source).with_suffix(".html")).exists():
            continue
        title = next((line[2:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")), "")
        title = title or re.search(r"^(.+)\n===", path.read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]
        lines.append(f"- [{title}]({path.relative_to(source).with_suffix('.html').as_posix()})")
    (out / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
