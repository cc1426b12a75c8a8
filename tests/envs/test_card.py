"""The environment card: the class docstring says what is true."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest

from hyperexec_env.envs import single
from hyperexec_env.envs.action import ACTION_MODES, PACES
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.reward import REWARDS
from hyperexec_env.envs.single import HyperExecEnv

pytestmark = pytest.mark.fast

CARD = inspect.getdoc(HyperExecEnv) or ""


def section(title: str) -> str:
    """Return the text of one section of the card."""
    return CARD.split(f"## {title}\n")[1].split("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """Return the rows of the first table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_card_has_every_section():
    titles = [line.removeprefix("## ") for line in CARD.splitlines() if line.startswith("## ")]
    expected = ["Description", "Action Space", "Observation Space", "Rewards", "Own Functions", "Starting State", "Episode End"]
    assert titles == [*expected, "Information", "Arguments", "Example", "Version History"]


def test_observation_table_matches_the_space():
    rows, space = table("Observation Space"), HyperExecEnv().observation_space
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert tuple(row[1] for row in rows) == observation_names()
    np.testing.assert_array_equal([float(row[4]) for row in rows], space.low)
    np.testing.assert_array_equal([float(row[5]) for row in rows], space.high)
    assert all(row[2] and row[3] for row in rows)


def test_action_table_names_every_mode_and_its_space():
    rows = {row[0].split()[0].strip("`"): row for row in table("Action Space")}
    assert tuple(rows) == ACTION_MODES
    for name, row in rows.items():
        space = HyperExecEnv(action_mode=name).action_space
        assert row[1].strip("`") == str(space).replace("-1.0, 1.0", "-1, 1")


def test_pace_formula_of_the_card():
    for action, pace in ((-1.0, 0.0), (0.0, 1.0), (0.5, 2.4), (1.0, 8.0)):
        assert (1 + action) / (1 - 3 * action / 4) == pytest.approx(pace)
        env = HyperExecEnv()
        env.reset(seed=0)
        env.step(np.zeros(1, np.float32))  # eight times the share of the first slice would exceed the order
        scheduled = env.task.mode.base[1, env.situation.seen] * env.situation.remaining
        assert scheduled * pace < env.situation.remaining
        env.step(np.array([action], dtype=np.float32))
        assert env.situation.last_shares == pytest.approx(scheduled * pace, rel=1e-6)


def test_card_names_the_paces():
    assert "p = 0, 1/4, 1/2, 1, 2, 4, 8" in section("Action Space")
    assert PACES == (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def test_rewards_table_names_every_reward():
    assert tuple(row[0].split()[0].strip("`") for row in table("Rewards")) == REWARDS


def test_information_table_names_every_key():
    env = HyperExecEnv()
    env.reset(seed=0)
    info, over = {}, False
    while not over:
        *_, over, _, info = env.step(np.ones(1, dtype=np.float32))
    named = {key.strip(" `") for row in table("Information") for key in row[0].split(",")}
    assert named == set(info)
    components = next(row[1] for row in table("Information") if "components_bps" in row[0])
    assert set(components.split(": ")[1].split(", ")) == set(info["components_bps"])


def test_arguments_are_those_of_the_class():
    described = [
        line.split(":")[0].strip() for line in section("Arguments").splitlines() if line.startswith("    ") and line[4] != " "
    ]
    parameters = inspect.signature(HyperExecEnv).parameters.values()
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    assert described[: len(named)] == named


def test_the_example_runs():
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(HyperExecEnv, "HyperExecEnv", module=single)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
