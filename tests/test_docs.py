"""The pages of `docs`: an example of a page prints what the page says, and definitions are those of the code."""

import importlib
import inspect
import pkgutil
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.baselines import closed_forms
from hyperexec_env.baselines.order_costs import HORIZONS, MEASURES

DOCS = Path(__file__).parent.parent / "docs"
TCA = (DOCS / "tca.md").read_text(encoding="utf-8")


def blocks(kind):
    """The code blocks of the page of TCA in one language."""
    return re.findall(rf"```{kind}\n(.*?)```", TCA, re.DOTALL)


def test_the_example_of_tca_prints_what_its_page_says(tmp_path, monkeypatch, capsys):
    pytest.importorskip("exchange_calendars", reason="needs the extra `data`")
    monkeypatch.chdir(tmp_path)
    (script,) = blocks("python")
    exec(compile(script, "docs/tca.md", "exec"), {})  # noqa: S102 - the script of the page
    command = next(block for block in blocks("bash") if "--out orders.csv" in block)
    assert cli.main(shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    (said,) = blocks("text")
    for line in filter(None, map(str.rstrip, said.splitlines())):
        assert line in printed, f"not printed: {line!r}"
    assert len(Path("orders.csv").read_text().splitlines()) == 25


def test_the_example_of_learning_prints_what_its_page_says(capsys):
    page = (DOCS / "howto/learn.md").read_text(encoding="utf-8")
    script, said = (re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0] for kind in ("python", "text"))
    exec(compile(script, "docs/howto/learn.md", "exec"), {})  # noqa: S102 - the script of the page
    assert capsys.readouterr().out.split() == said.split()


def test_the_definitions_of_tca_are_those_of_the_code():
    page = " ".join(TCA.split())
    for name, measure in MEASURES.items():
        horizon = next((item.name for item in HORIZONS if name.endswith(f"_{item.name}_bps") and name != "close_bps"), "")
        shown = name.replace(f"_{horizon}_", "_H_") if horizon else name
        text = measure.text.replace(f"h = {horizon}", "h = 1s, 10s, 1m, 5m, 30m or the close") if horizon else measure.text
        assert f"- `{shown}` {' '.join(text.split())}" in page, name


@pytest.mark.fast
def test_the_index_lists_every_page():
    written = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    pages = {page for page in written if not page.startswith(("reference/generated/", "examples/")) and page != "index"}
    listed = set(re.findall(r"^[a-z][a-z0-9_/]+$", (DOCS / "index.md").read_text(encoding="utf-8"), re.MULTILINE))
    orphans = {page for page in pages if "orphan: true" in (DOCS / f"{page}.md").read_text(encoding="utf-8")}
    assert pages - orphans - {"paper"} == {
        page for page in listed if not page.startswith(("reference/generated/", "examples/"))
    }


@pytest.mark.fast
def test_the_table_of_arguments_names_every_argument(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    interface_pages = importlib.import_module("interface_pages")
    named = re.findall(r"^\| `(\w+)` \|", interface_pages.sections()["Arguments"], re.MULTILINE)
    assert named == [name for name in inspect.signature(hx.HyperExecEnv).parameters if name != "unknown"]


def test_every_closed_form_has_tests_on_its_page(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    interface_pages = importlib.import_module("interface_pages")
    parts = re.split(r"^## ", interface_pages.published(), flags=re.MULTILINE)[1:]
    modules = sorted(module.name for module in pkgutil.iter_modules(closed_forms.__path__))
    assert [part.split("\n")[0] for part in parts] == modules
    for part in parts:
        assert re.search(r"^- \w", part, re.MULTILINE), part


def _pairs():
    """A basket of two orders."""
    ten = hx.get_basket("basket-pairs")
    return replace(ten, assets=ten.assets[:2], correlation=((1.0, 0.6), (0.6, 1.0)), factors=())


@pytest.mark.parametrize(
    ("kind", "scenario", "needs", "said"),
    [
        ("basket", _pairs, "matplotlib", ("optimum J*", "| TWAP | ", "basket-pairs: sound", "cross_impact")),
        ("touch", lambda: "touch-thin", "PIL", ("optimum J*", "| TWAP | ", "touch-thin: sound", "deeper_queue")),
        ("venue", lambda: "dark-linear", "PIL", ("optimum J*", "| dark-first | ", "dark-linear: sound", "adverse", ", pool ")),
    ],
)
def test_the_page_of_a_kind_of_scenario_has_its_board_and_its_picture(monkeypatch, tmp_path, kind, scenario, needs, said):
    pytest.importorskip(needs, reason="needs the extra `plot`")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    pages = replace(importlib.import_module(f"{kind}_pages").KIND, episodes=20)
    given = scenario()
    text = pages.page(given, tmp_path)
    assert (tmp_path / f"{getattr(given, 'name', given)}.{pages.ending}").stat().st_size > 10_000
    for words in (*said, " * | "):
        assert words in text, words


def test_every_registered_scenario_has_a_page(monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    makers = importlib.import_module("reference_pages").makers()
    assert set(makers) == {*hx.scenario_names(), *hx.basket_names(), *hx.touch_names(), *hx.venue_names()}
