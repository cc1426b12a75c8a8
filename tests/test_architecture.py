"""The house: who may import whom, and that what is written once is written once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"hyperexec_env": (), "baselines": ("hyperexec_env",), "training": ("hyperexec_env",)}
"""Folder of the repository -> package that it is installed below."""

HOUSE = {
    "orders": set(),
    "market": {"orders"},
    "envs": {"market", "orders"},
    "execution": {"market", "orders"},
    "evaluation": {"envs", "market", "orders"},
    "data": {"market", "orders"},
    "baselines": {"data", "evaluation", "envs", "execution", "market", "orders"},
    "training": {"baselines", "data", "evaluation", "envs", "execution", "market", "orders"},
    "cli": {"training", "baselines", "data", "evaluation", "envs", "execution", "market", "orders"},
}
"""Room -> rooms that it may import: cli -> training -> baselines -> evaluation -> envs -> market -> orders, and never back;
execution and data stand on the market, and baselines use both."""

TOOLS = {"version": set(), "extras": set(), "files": set(), "checks": set(), "arguments": set()}
"""Small things that anybody may use; they use nothing of the house but each other."""

ROOMS = {**HOUSE, **TOOLS}


def modules():
    """Every module of the house: its name and its syntax tree."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (*package, *path.relative_to(ROOT).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = dict(modules())


def imports(name):
    """What a module imports, anywhere in it: full names, also those it imports by text."""
    found = set()
    package = name if any(other.startswith(f"{name}.") for other in MODULES) else name.rpartition(".")[0]
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def room(name):
    """The room of a module: "market" for hyperexec_env.market.kernel, None for what does not belong to the house."""
    first, *rest = name.split(".")
    if first != "hyperexec_env":
        return None
    return rest[0] if rest else "door"


def test_every_import_of_the_house_names_a_module():
    """A module that moved is missed here first."""
    found = {(name, other) for name in MODULES for other in imports(name) if room(other) and other not in MODULES}
    assert found == set()


def test_every_module_has_a_room():
    assert {room(name) for name in MODULES} <= {*ROOMS, "door"}
    assert len(MODULES) > 20
    assert set(HOUSE) == {room(name) for name in MODULES} & set(HOUSE)


def test_the_rooms_stand_in_one_order():
    """The permitted imports have no cycle."""
    left = dict(ROOMS)
    while left:
        ground = [name for name, above in left.items() if not above & set(left)]
        assert ground, f"a cycle among {sorted(left)}"
        for name in ground:
            del left[name]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "hyperexec_env"])
def test_a_module_imports_only_what_its_room_may(name):
    allowed = {room(name), "door", None, *ROOMS[room(name)]}
    allowed |= set(TOOLS) - ({"arguments"} if room(name) in ("orders", "market") or room(name) in TOOLS else set())
    found = {other: room(other) for other in imports(name)}
    assert {other for other, where in found.items() if where not in allowed} == set()


def test_the_door_opens_on_nothing():
    """`import hyperexec_env` registers the environment and loads no part of the house; type checkers see the public API."""
    body = [node for node in MODULES["hyperexec_env"].body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    named = {node.module for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.ImportFrom)}
    assert {other for other in named if room(other)} == {"hyperexec_env.version"}


def test_nobody_imports_the_command_line():
    assert [name for name in MODULES if room(name) != "cli" and "cli" in map(room, imports(name))] == []


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in ("market", "orders")])
def test_the_market_has_never_heard_of_agents(name):
    strangers = {"gymnasium", "torch", "stable_baselines3", "sb3_contrib", "matplotlib", "numba"}
    assert {other.split(".")[0] for other in imports(name)} & strangers == set()


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) not in ("training",)])
def test_only_training_knows_stable_baselines3(name):
    assert {other.split(".")[0] for other in imports(name)} & {"stable_baselines3", "sb3_contrib"} == set()


def functions(name):
    """The functions of a module that belong to no class."""
    return [node.name for node in MODULES[name].body if isinstance(node, ast.FunctionDef)]


def test_the_step_of_the_market_is_written_once():
    for function in ("step", "move", "close"):
        assert [name for name in MODULES if function in functions(name)] == ["hyperexec_env.market.kernel"]


def test_noise_is_drawn_in_one_place():
    """Everything that the agent cannot influence comes from the counter-based noise: no generator in the market."""
    for name, tree in MODULES.items():
        if room(name) in ("market", "envs") and name != "hyperexec_env.envs.vector":
            used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not used & {"default_rng", "RandomState", "SeedSequence"}, name


def calls(tree):
    """The calls in a syntax tree: the name of what is called, without what it belongs to, and the texts that are given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, [argument.value for argument in node.args if isinstance(argument, ast.Constant)]


COMPILING = {"hyperexec_env.market.compiled", "hyperexec_env.envs.compiled", "hyperexec_env.evaluation.fused"}
"""The modules that know how something is compiled."""


@pytest.mark.parametrize("name", MODULES)
def test_numba_is_imported_by_need_only(name):
    """It takes half a second, and is an extra: no import statement, and no `need` before a function is called."""
    assert "numba" not in {other.split(".")[0] for other in imports(name)}
    runs_on_import = [node for node in MODULES[name].body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert not [given for node in runs_on_import for called, given in calls(node) if called == "need"]


def test_only_three_modules_compile():
    """The others ask for a backend by its name."""
    needing, compiling = set(), set()
    for name, tree in MODULES.items():
        found = list(calls(tree))
        needing |= {name for called, given in found if called == "need" and str(*given[:1]).split(".")[0] == "numba"}
        used = {called for called, _ in found} | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        compiling |= {name for word in ("twins", "Twins", "tiles", "njit") if word in used}
    assert needing == {"hyperexec_env.market.compiled"}
    assert compiling == COMPILING


def test_compiled_modules_write_no_equation_anew():
    """They name the functions of the market and compile them: no twin has the name of a function of the kernel or the path."""
    originals = {
        function
        for name in ("market.kernel", "market.predator", "market.path", "market.noise", "envs.observation", "envs.action")
        for function in functions(f"hyperexec_env.{name}")
    }
    allowed = {"halves", "octave", "root", "power_of_two", "next_regime", "geometric", "level_shares"}
    for name in COMPILING:
        assert {function.lstrip("_") for function in functions(name)} & {each.lstrip("_") for each in originals} <= allowed, (
            name
        )
