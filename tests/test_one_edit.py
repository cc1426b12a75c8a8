"""One edit: a feature, a cost, a regime, a scenario field, an action mode and a command are added in one place each.

Each test makes the edit that a maintainer would make, in a copy of the package, and compares the executions of that copy in a
process of its own: single environment, numpy lanes, compiled lanes, rollouts in numpy, compiled and in torch. What was
forgotten must fail at import and name the place; it must never be a wrong number.
"""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = Path(__file__).with_name("agreement.py")
needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs the extra `train`")
needs_pillow = pytest.mark.skipif(find_spec("PIL") is None, reason="needs the extra `plot`")


class House:
    """A copy of the package as it is installed, to be edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__", "*.npz")
        shutil.copytree(ROOT / "hyperexec_env", folder / "hyperexec_env", ignore=ignore)
        for name in ("baselines", "training"):
            shutil.copytree(ROOT / name, folder / "hyperexec_env" / name, ignore=ignore)
        self.before: dict[Path, str] = {}

    def edit(self, file: str, *replaced: tuple[str, str]) -> None:
        """Replace texts of a file, each of which stands there once; a new file is one replacement of nothing."""
        path = self.folder / "hyperexec_env" / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self.before.setdefault(path, text)
        for old, new in replaced:
            assert text.count(old) == 1 or (text == old == ""), f"{file}: {old!r}"
            text = text.replace(old, new) if old else new
        path.write_text(text, encoding="utf-8")

    def edits(self) -> dict[str, int]:
        """Return the number of lines added or changed in each file, and print them."""
        found = {}
        for path, before in self.before.items():
            lines = difflib.ndiff(before.splitlines(), path.read_text(encoding="utf-8").splitlines())
            added = [line[2:] for line in lines if line.startswith("+ ")]
            found[path.relative_to(self.folder).as_posix()] = len([line for line in added if line.strip()])
            print(f"{path.relative_to(self.folder)}: {len(added)} lines\n    " + "\n    ".join(added))
        return found

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the copy on its path."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, cwd=self.folder)

    def check(self, name: str, **arguments: Any) -> Any:
        """Return what a check of `agreement.py` returns."""
        return self.checks((name, arguments))[0]

    def checks(self, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
        """Return what some checks return, made in one process."""
        done = self.run(str(CHECKS), json.dumps(calls))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refusal(self, module: str) -> str:
        """Return the error with which a module cannot be imported."""
        done = self.run("-c", f"import {module}")
        assert done.returncode != 0
        return done.stderr.splitlines()[-1]


def house_of(tmp_path_factory: Any) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture
def house(tmp_path):
    """A copy to be edited by one test."""
    return House(tmp_path / "house")


def test_an_edit_that_finds_nothing_to_replace_fails(house):
    with pytest.raises(AssertionError, match=r"kernel\.py"):
        house.edit("market/kernel.py", ("there is no such text", ""))


# --- a feature

TABLE_FEATURE = (
    '    Feature("time_left", 0.0, 1.0,',
    '    Feature("time_sign", -1.0, 1.0, lambda market: 1.0 - 2.0 * market.plan[:, None]),\n    Feature("time_left", 0.0, 1.0,',
)
OWN_FEATURE = (
    '    Feature("last_participation", 0.0, 1.0),\n',
    '    Feature("last_participation", 0.0, 1.0),\n    Feature("left_squared", 0.0, 1.0),\n',
)
OWN_VALUE = (
    "        last_shares / (last_shares + last_volume),\n",
    "        last_shares / (last_shares + last_volume),\n        left * left,\n",
)
FEATURES = "envs/features.py"


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A copy with a feature of a table and a computed one."""
    house = house_of(tmp_path_factory)
    house.edit(FEATURES, TABLE_FEATURE, OWN_FEATURE, OWN_VALUE)
    return house


def test_a_feature_is_a_line_in_a_list_and_a_value_if_it_is_computed(features):
    assert features.edits() == {"hyperexec_env/envs/features.py": 3}
    names, seen, hidden = features.checks(("names", {}), ("lanes", {}), ("lanes", {"observe_regime": False}))
    assert names[5:8] == ["last_participation", "left_squared", "last_volume"]
    assert names[names.index("time_left") - 1] == "time_sign"
    for facts in (seen, hidden):
        rows = facts["observations"]
        assert {len(row) for row in rows} == {len(names)}
        for row in rows:
            named = dict(zip(names, row, strict=True))
            assert named["left_squared"] == pytest.approx(named["remaining"] ** 2, rel=1e-6, abs=1e-12)
        signs = [row[names.index("time_sign")] for row in rows]
        assert signs == sorted(signs)
        assert signs[0] < 0.0 < signs[-1] <= 1.0


def test_a_feature_without_its_value_is_an_error_at_import(house):
    house.edit(FEATURES, OWN_FEATURE)
    assert house.refusal("hyperexec_env.envs.features") == ("TypeError: features.own_features returns 6 values for 7 features")


def test_a_value_without_its_feature_is_an_error_at_import(house):
    house.edit(FEATURES, OWN_VALUE)
    assert "features.own_features returns 7 values for 6 features" in house.refusal("hyperexec_env.envs.single")


def test_a_drawn_feature_without_its_value_is_an_error_at_import(house):
    house.edit(
        FEATURES, ('    Feature("side", -1.0, 1.0),\n', '    Feature("side", -1.0, 1.0),\n    Feature("x", 0.0, 1.0),\n')
    )
    assert "features.drawn_features returns 3 values for 4 features" in house.refusal("hyperexec_env.envs.vector")


# --- a cost: a fee for each share

FEE = 0.01
"""Currency per share: 1 bps of an arrival price of 100."""
KERNEL = "market/kernel.py"
COST_FIELD = (
    "    spread: Annotated[Any, Role(child=True)]\n",
    "    spread: Annotated[Any, Role(child=True)]\n    fee: Annotated[Any, Role(child=True)]\n",
)
COST_VALUE = ("        half_spread * size,\n", f"        half_spread * size,\n        {FEE} * size,\n")
COMPONENT = ("    opportunity: Any\n", "    opportunity: Any\n    fee: Any\n")


@pytest.fixture(scope="module")
def fee(tmp_path_factory):
    """A copy with a fee."""
    house = house_of(tmp_path_factory)
    house.edit(KERNEL, COST_FIELD, COST_VALUE, COMPONENT)
    return house


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A copy that was not edited."""
    return house_of(tmp_path_factory)


def test_a_fee_is_three_lines_of_the_kernel_and_flows_into_the_reward(fee, plain):
    """Any order that is completed pays the same fee: objective and shortfall rise by 1 bps, nothing else changes."""
    assert fee.edits() == {"hyperexec_env/market/kernel.py": 3}
    calls = [("lanes", {"reward": reward}) for reward in ("expected", "realised")]
    for now, before in zip(fee.checks(*calls), plain.checks(*calls), strict=True):
        info, old = now["info"], before["info"]
        components = info["components_bps"]
        assert components["fee"] == pytest.approx(1.0)
        assert sum(components.values()) == pytest.approx(info["shortfall_bps"])
        assert {**old["components_bps"], "fee": 1.0} == pytest.approx(components)
        for total in ("shortfall_bps", "objective_bps"):
            assert info[total] == pytest.approx(old[total] + 1.0)
        assert sum(now["rewards"]) == pytest.approx(sum(before["rewards"]) - 1.0)
        assert now["observations"] == before["observations"]
    expected, realised = fee.checks(*calls)
    assert sum(expected["rewards"]) == pytest.approx(-expected["info"]["objective_bps"])
    assert sum(realised["rewards"]) == pytest.approx(-realised["info"]["shortfall_bps"] - realised["info"]["risk_bps"])


def test_a_fee_flows_into_rollouts_board_and_certificate(fee, plain):
    calls = [("rollouts", {"compiled": False}), ("board", {}), ("certificate", {}), ("estimate", {})]
    (now, board, certificate, estimate), (before, *_) = fee.checks(*calls), plain.checks(calls[0])
    for name, means in now.items():
        assert means == pytest.approx(
            {**before[name], "fee": 1.0, **{total: before[name][total] + 1.0 for total in ("objective", "shortfall")}}
        )
    assert "fee" in board["text"]
    assert [row["components_bps"]["fee"] for row in board["json"]["rows"]] == pytest.approx([1.0, 1.0])
    assert "fee" in certificate["parts"]
    assert "fee" in certificate["judged"]
    assert estimate["fee"] == pytest.approx(1e4 * FEE / 50.0)


def test_a_fee_moves_the_optimum_by_what_every_order_pays(fee, plain):
    """Both solvers take costs from the kernel: Riccati recursions and the dynamic program."""
    quick = {"base": "regime-day", "slices": 4, "name": "quick"}
    calls = [("optimum", {}), ("optimum", {"scenario": quick})]
    (linear, dynamic), (linear_before, dynamic_before) = fee.checks(*calls), plain.checks(*calls)
    paid = 1e4 * FEE / 50.0
    assert linear == pytest.approx([value + paid for value in linear_before], rel=1e-6)
    assert dynamic == pytest.approx([value + 1.0 for value in dynamic_before], rel=1e-4)


@needs_pillow
def test_a_fee_is_shown(fee):
    assert "fee 1.00" in fee.check("picture")["text"]


def test_a_fee_is_in_the_json_of_the_command(fee):
    words = ["evaluate", "--policy", "TWAP", "--episodes", "64", "--no-optimum", "--backend", "numpy", "--json"]
    done = fee.run("-m", "hyperexec_env.cli", *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["components_bps"]["fee"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([COST_FIELD, COMPONENT], "kernel.move returns 7 costs ... kernel.Cost"),
        ([COST_VALUE, COMPONENT], "kernel.move returns 8 costs ... kernel.Cost"),
        ([COST_FIELD, COST_VALUE], "kernel.Components ... differs in ['fee']"),
        ([COMPONENT], "kernel.Components ... differs in ['fee']"),
        (
            [(COST_FIELD[0], COST_FIELD[0] + "    fee: Any\n"), COST_VALUE, COMPONENT],
            "kernel.Cost ... Role ... 'fee'",
        ),
    ],
    ids=["no value", "no field", "no component", "component alone", "no role"],
)
def test_a_cost_that_is_not_everywhere_is_an_error_at_import(house, edits, message):
    house.edit(KERNEL, *edits)
    for module in ("hyperexec_env.market.kernel", "hyperexec_env.envs.single"):
        refusal = house.refusal(module)
        assert all(part in refusal for part in message.split(" ... ")), refusal


def test_a_cost_outside_the_shortfall_needs_no_component(house):
    """As the risk term: it counts towards the objective only."""
    field = (COST_FIELD[0], COST_FIELD[0] + "    fee: Annotated[Any, Role(shortfall=False)]\n")
    house.edit(KERNEL, field, COST_VALUE)
    (facts,) = house.checks(("lanes", {}))
    info = facts["info"]
    assert "fee" not in info["components_bps"]
    assert sum(facts["rewards"]) == pytest.approx(-info["objective_bps"])
    assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"])


# --- a regime

REGIME = ('"CRISIS", "RECOVERY")\n"""The regimes', '"CRISIS", "RECOVERY", "AUCTION")\n"""The regimes')
SEVEN = {
    "base": "regime-day",
    "name": "seven",
    "regimes": {
        "names": ["BULL_TRENDING", "BEAR_TRENDING", "SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS", "RECOVERY", "AUCTION"],
        "volatility": [0.9, 1.2, 0.6, 1.5, 3.0, 1.3, 0.8],
        "volume": [1.1, 1.0, 0.8, 1.2, 0.15, 0.7, 3.0],
        "spread": [1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 0.5],
        "temporary": [],
        "resilience": [1.0, 0.8, 1.0, 0.6, 0.2, 0.6, 2.0],
        "drift": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01],
        "rates": [[-30.0 if i == j else 5.0 for j in range(7)] for i in range(7)],
    },
}


@pytest.fixture(scope="module")
def seventh(tmp_path_factory):
    """A copy with a seventh regime."""
    house = house_of(tmp_path_factory)
    house.edit("market/regime.py", REGIME)
    return house


def test_a_regime_is_one_name_and_makes_the_observation_one_longer(seventh, plain):
    assert seventh.edits() == {"hyperexec_env/market/regime.py": 1}
    names, facts, hidden, old, hashes = seventh.checks(
        ("names", {}),
        ("lanes", {"scenario": SEVEN}),
        ("lanes", {"scenario": SEVEN, "observe_regime": False}),
        ("lanes", {}),
        ("hashes", {}),
    )
    before, facts_before, hashes_before = plain.checks(("names", {}), ("lanes", {}), ("hashes", {}))
    assert names == [*before[:-1], "regime_AUCTION", before[-1]]
    for row in facts["observations"]:
        assert sum(row[14:21]) == 1.0
        assert row[21] == 0.0
    assert any(row[20] for row in facts["observations"])
    assert all(row[21] == 1.0 and sum(row[14:21]) == 0.0 for row in hidden["observations"])
    assert old["info"] == facts_before["info"]
    assert hashes == hashes_before


def test_seven_regimes_have_a_certificate_and_a_board(seventh):
    certificate, board = seventh.checks(("certificate", {"scenario": SEVEN}), ("board", {"scenario": SEVEN}))
    assert certificate["verdict"]
    assert len(board["json"]["rows"]) == 2


@needs_pillow
def test_seven_regimes_are_drawn_in_seven_colours(seventh):
    colours = seventh.check("picture", scenario=SEVEN)["colours"]
    assert len(set(colours.values())) == 7


# --- a field of the scenario

FIELD = (
    '    price_model: str = _unit("abm"',
    '    rebate: float = _unit(0.25, "bps", "rebate of the venue", low=0.0, high=5.0)\n    price_model: str = _unit("abm"',
)


def test_a_scenario_field_is_one_line_and_moves_no_hash(house, plain):
    """It is hashed where it differs from its default; its bounds, its line in files and on the card follow."""
    house.edit("market/scenario.py", FIELD)
    assert house.edits() == {"hyperexec_env/market/scenario.py": 1}
    after, field = house.checks(("hashes", {}), ("scenario_field", {"name": "rebate", "value": 1.5, "wrong": 7.0}))
    before = plain.check("hashes")
    for name, value in before.items():
        print(f"{name:<16} {value} {after[name]}")
    assert after == before
    assert field["hash"] not in before.values()
    assert "rebate = 1.5  # rebate of the venue, bps\n" in field["toml"]
    assert len(field["card"]) == 1
    assert "1.5  rebate of the venue [bps]" in field["card"][0]
    assert "rebate must be a number in [0, 5] bps, got 7.0" in field["refused"]


def test_a_scenario_field_without_bounds_is_an_error_at_import(house):
    field = FIELD[1].replace(", low=0.0, high=5.0", "")
    house.edit("market/scenario.py", (FIELD[0], field))
    assert "scenario.Scenario must state the bounds of 'rebate'" in house.refusal("hyperexec_env.market.scenario")


def test_a_scenario_field_without_a_unit_is_an_error_at_import(house):
    house.edit(
        "market/scenario.py",
        ('    price_model: str = _unit("abm"', '    rebate: float = 0.25\n    price_model: str = _unit("abm"'),
    )
    assert "scenario.Scenario must state unit and meaning of 'rebate'" in house.refusal("hyperexec_env.market.scenario")


# --- an action mode

MODE = (
    "_MODES: Final[dict",
    """def _square_mode(market: Market) -> ActionMode:
    def square_shares(action: Any, remaining: Any, base: Any) -> Any:
        return remaining * base * (0.25 * (1.0 + action) * (1.0 + action))

    return ActionMode("square", _continuous(), square_shares, np.ones_like(market.mean_volume))


_MODES: Final[dict""",
)
MODE_LINE = ('    "discrete": _discrete_mode,\n', '    "discrete": _discrete_mode,\n    "square": _square_mode,\n')


@pytest.fixture(scope="module")
def mode(tmp_path_factory):
    """A copy with an action mode more."""
    house = house_of(tmp_path_factory)
    house.edit("envs/action.py", MODE, MODE_LINE)
    return house


def test_an_action_mode_is_one_function_and_one_line(mode):
    assert mode.edits() == {"hyperexec_env/envs/action.py": 5}
    (facts,) = mode.checks(("lanes", {"action_mode": "square"}))
    assert len(facts["rewards"]) > 1
    done = mode.run("-c", "import gymnasium, hyperexec_env; gymnasium.make('HyperExec-v0', action_mode='squared')")
    assert "square" in done.stderr.splitlines()[-1]


@needs_torch
def test_an_action_mode_may_be_trained(mode):
    for command in ("ppo", "sac"):
        done = mode.run("-m", "hyperexec_env.cli", "train", command, "--help")
        assert "square" in done.stdout, done.stderr


# --- a feature, a cost, a regime and an action mode at once, in the executions that take long to start


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A copy with all of these edits: each copy costs seconds to compile."""
    house = house_of(tmp_path_factory)
    house.edit(FEATURES, TABLE_FEATURE, OWN_FEATURE, OWN_VALUE)
    house.edit(KERNEL, COST_FIELD, COST_VALUE, COMPONENT)
    house.edit("market/regime.py", REGIME)
    house.edit("envs/action.py", MODE, MODE_LINE)
    return house


@needs_torch
def test_the_edits_are_seen_and_paid_in_torch(together):
    assert together.check("torch_rollout", scenario=SEVEN, action_mode="square") > 0


@needs_numba
def test_the_edits_are_seen_and_paid_in_compiled_lanes_and_rollouts(together):
    options = {"scenario": SEVEN, "action_mode": "square", "reward": "realised"}
    names, compiled, single, rollouts = together.checks(
        ("names", {}),
        ("lanes", {"backend": "numba", **options}),
        ("lanes", options),
        ("rollouts", {"scenario": SEVEN, "policies": ["by regime"]}),
    )
    assert compiled == single
    assert {len(row) for row in single["observations"]} == {len(names)}
    assert any(row[names.index("regime_AUCTION")] for row in single["observations"])
    assert single["info"]["components_bps"]["fee"] == pytest.approx(1.0)
    assert rollouts["by regime"]["fee"] == pytest.approx(1.0)


# --- a command

COMMAND = '''"""Greet a trader: politely."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec greet``."""

    name: str = option("trader", "who is greeted")


def main(args: Args) -> Report:
    """Return the greeting."""
    return Report(f"good morning, {args.name}", {"greeted": args.name})
'''


def test_a_command_is_one_file(house):
    house.edit("cli/greet.py", ("", COMMAND))
    assert list(house.edits()) == ["hyperexec_env/cli/greet.py"]
    run = ("-m", "hyperexec_env.cli")
    assert house.run(*run, "greet", "--name", "Ada").stdout == "good morning, Ada\n"
    assert json.loads(house.run(*run, "greet", "--json").stdout) == {"greeted": "trader"}
    assert any(line.split() == ["greet", "Greet", "a", "trader"] for line in house.run(*run, "--help").stdout.splitlines())
    refused = house.run(*run, "greet", "--nam", "Ada")
    assert refused.returncode == 2
    assert "--nam" in refused.stderr
