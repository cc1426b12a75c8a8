"""The house: which room may import which, and that an equation stands in one place."""

from __future__ import annotations

import ast
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parent.parent
FOLDERS = {"hyperexec_env": (), "baselines": ("hyperexec_env",), "training": ("hyperexec_env",)}
"""Folder of the repository -> package that it is installed below."""

ARROWS = """
cli -> training -> baselines -> evaluation -> envs -> market -> orders
cli -> audit -> baselines
cli -> sharing -> baselines
baselines -> execution -> market, orders
cli, training, baselines, envs -> data -> market
integrations -> baselines
envs, evaluation -> backends
"""
"""A -> B: A may import B, and whatever B may import; never back."""


def _house():
    """Return each room with the rooms that it may import, directly or through another room."""
    direct = {}
    for line in ARROWS.strip().splitlines():
        for left, right in pairwise(line.split(" -> ")):
            for name in left.split(", "):
                direct.setdefault(name, set()).update(right.split(", "))
    rooms = {*direct, *(name for below in direct.values() for name in below)}

    def below(name):
        return {found for each in direct.get(name, ()) for found in {each, *below(each)}}

    return {name: below(name) for name in rooms}


HOUSE = _house()

TOOLS = {"version", "extras", "files", "checks", "arguments", "records", "progress", "workers"}
"""Modules that every room may import; they import only each other."""


def modules():
    """Every module of the house: its name and its syntax tree."""
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = (*package, *path.relative_to(ROOT).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


MODULES = dict(modules())


@cache
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


def test_every_module_has_a_room_and_every_room_has_a_module():
    assert {room(name) for name in MODULES} == {*HOUSE, *TOOLS, "door"}


def test_the_arrows_have_no_cycle():
    assert [name for name, below in HOUSE.items() if name in below] == []


def test_a_module_imports_only_what_its_room_may():
    wrong = set()
    for name in set(MODULES) - {"hyperexec_env"}:  # the door, which names all rooms to type checkers
        here = room(name)
        allowed = {here, "door", None, *HOUSE.get(here, ()), *TOOLS}
        if here in ("orders", "market", "backends") or here in TOOLS:
            allowed -= {"arguments"} - {here}  # command lines are made from it
        wrong |= {(name, other) for other in imports(name) if room(other) not in allowed}
    assert wrong == set()


def test_the_door_opens_on_nothing():
    """`import hyperexec_env` registers the environment and loads no part of the house; type checkers see the public API."""
    body = [node for node in MODULES["hyperexec_env"].body if not ast.unparse(node).startswith("if TYPE_CHECKING:")]
    named = {node.module for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.ImportFrom)}
    assert {other for other in named if room(other)} == {"hyperexec_env.version"}


def outside(name):
    """Return the packages outside the house that a module imports."""
    return {other.split(".")[0] for other in imports(name)} - {"hyperexec_env"}


def test_the_market_has_never_heard_of_agents():
    strangers = {"gymnasium", "torch", "stable_baselines3", "sb3_contrib", "matplotlib", "numba"}
    assert [name for name in MODULES if room(name) in ("market", "orders", "records") and outside(name) & strangers] == []


def test_only_training_knows_stable_baselines3():
    knowing = {room(name) for name in MODULES if outside(name) & {"stable_baselines3", "sb3_contrib"}}
    assert knowing <= {"training"}


def test_only_integrations_know_other_engines():
    """No room imports a bridge, and a bridge alone imports the engine that it leads to."""
    assert {room(name) for name in MODULES if "nautilus_trader" in outside(name)} == {"integrations"}
    assert {room(name) for name in MODULES for other in imports(name) if room(other) == "integrations"} <= {"integrations"}


def functions(name):
    """The functions of a module that belong to no class."""
    return [node.name for node in MODULES[name].body if isinstance(node, ast.FunctionDef)]


def test_the_step_of_the_market_is_written_once():
    for function in ("step", "move", "close"):
        assert [name for name in MODULES if function in functions(name)] == ["hyperexec_env.market.kernel"]


def test_noise_is_drawn_in_one_place():
    """Everything that the agent cannot influence comes from the counter-based noise: no generator in the market."""
    for name, tree in MODULES.items():
        if room(name) in ("market", "envs") and name != "hyperexec_env.envs.seeding":
            used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not used & {"default_rng", "RandomState", "SeedSequence"}, name


def calls(tree):
    """Return the calls in a syntax tree: the last name of the function that is called, and the constants it is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, [argument.value for argument in node.args if isinstance(argument, ast.Constant)]


def needs_numba(name):
    """Return whether a module asks for numba, in any function."""
    return any(called == "need" and str(*given[:1]).split(".")[0] == "numba" for called, given in calls(MODULES[name]))


def test_numba_is_imported_by_need_only():
    """It takes half a second, and is an extra: no import statement, and no `need` before a function is called."""
    assert [name for name in MODULES if "numba" in outside(name)] == []
    for name, tree in MODULES.items():
        runs_on_import = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert not [given for node in runs_on_import for called, given in calls(node) if called == "need"], name


def test_one_module_needs_numba_and_compiles():
    """The others ask for a backend by its name."""
    assert [name for name in MODULES if needs_numba(name)] == ["hyperexec_env.backends.compiled"]
    words = {name: {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} for name, tree in MODULES.items()}
    assert [name for name in MODULES if "njit" in words[name]] == ["hyperexec_env.backends.compiled"]


def test_the_backends_know_no_finance():
    """They derive every layout from the records: no cost, number, regime or feature is named, no function is written anew."""
    from hyperexec_env.envs.features import observation_names
    from hyperexec_env.market import kernel, lane, path, regime

    records = (kernel.State, kernel.Slice, kernel.Cost, kernel.Impact, path.World, path.Draws, lane.Lane, lane.Ticket)
    finance = {field for record in records for field in record._fields} - {"key", "side", "order"}
    finance |= {*observation_names(), *regime.REGIME_NAMES}
    equations = (
        "market.kernel",
        "market.predator",
        "market.path",
        "market.lane",
        "market.noise",
        "envs.features",
        "envs.action",
    )
    originals = {function for name in equations for function in functions(f"hyperexec_env.{name}")}
    for name in (name for name in MODULES if room(name) == "backends"):
        nodes = list(ast.walk(MODULES[name]))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        used |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert used & finance == set(), name
        assert {function.lstrip("_") for function in functions(name)} & {each.lstrip("_") for each in originals} == set(), name
