"""Fill a board with the algorithms of several libraries: the same budget, several seeds, several scenarios, judged together.

    python benchmarks/stacks.py --cleanrl cleanrl-1.2.0-py3-none-any.whl

Every training trades the same number of slices with the default hyperparameters of its library, and its last weights become a
policy file, which must act as the library's own model does. Trained policies are reused, and every judged batch of episodes is
stored, so that an interrupted run resumes where it stopped. Beside the policies the folder then has SCENARIO.json and
SCENARIO.md (the boards) and stacks.md (the table of all stacks).
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

import hyperexec_env as hx
from hyperexec_env.arguments import Parser, add_arguments, option, parse
from hyperexec_env.baselines.evaluate import entrants, known_optimum
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.evaluation.archive import to_json
from hyperexec_env.evaluation.board import Board, Entrant
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy, save_policy
from hyperexec_env.evaluation.statistics import interquartile_interval
from hyperexec_env.evaluation.store import Store
from hyperexec_env.evaluation.submission import pack_submission, submission_of
from hyperexec_env.evaluation.table import markdown_table
from hyperexec_env.files import make_folder, write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.progress import progress
from hyperexec_env.sharing.submit import file_safe
from hyperexec_env.training import pathwise
from hyperexec_env.training.checkpoints import versions
from hyperexec_env.training.folder import file_name, save_scenario

ON_POLICY: Final = ("PPO", "A2C", "TRPO", "MaskablePPO", "ARS")
OFF_POLICY: Final = ("SAC", "TD3", "DDPG", "DQN", "TQC", "QRDQN", "CrossQ")
OTHERS: Final = ("RecurrentPPO", "CleanRL PPO", "torchrl PPO", "Pathwise")
STACKS: Final = (*ON_POLICY, *OFF_POLICY, *OTHERS)
LANES: Final = (*ON_POLICY, "RecurrentPPO")
"""Stacks with the option `lanes`."""
SIZED: Final = (*OFF_POLICY, "RecurrentPPO")
"""Stacks with the option `network`."""
SMALL: Final = "The hidden layers of what acts are smaller than those of the library, so that the file fits a repository."
_TOLERANCE, _TIES = 1e-6, 1e-3
"""Largest difference between an action of a policy file and of its model, and largest share of larger ones: two levels of a
discrete action may tie."""


@dataclass(frozen=True)
class Args:
    """Options of the board of stacks."""

    scenario: tuple[str, ...] = option(
        ("regime-day", "benchmarks/spy.toml", "flow-signal"), "names of scenarios, or paths of .toml files", file="scenario"
    )
    stack: tuple[str, ...] = option(STACKS, "algorithms to train; those whose library is missing are left out, with a line")
    seeds: int = option(3, "training seeds of each algorithm: 0, 1, ...")
    slices: int = option(106_496, "slices to trade in each training")
    lanes: int = option(16, "parallel environments of the on-policy algorithms of stable-baselines3 and sb3-contrib")
    off_lanes: int = option(16, "parallel environments of their off-policy algorithms: one gradient step per step of all lanes")
    network: tuple[int, ...] = option(
        (), "units of the hidden layers of the off-policy algorithms' actors, and of RecurrentPPO (none: those of the library)"
    )
    cleanrl: str = option("", "wheel of cleanrl 1.2.0, which has its single files", file="input")
    episodes: int = option(10_000, "episodes of each board, the same for every policy")
    seed: int = option(0, "seed of the boards' episodes, which no training meets")
    minutes: float = option(0.0, "begin no training after so many minutes (0: no limit)")
    train_only: bool = option(False, "judge nothing")
    submissions: str = option("", "folder for the policies as submissions, SCENARIO/STACK-SEED.submission.zip", file="folder")
    out: str = option("runs/stacks", "folder of the policies, the store and the tables", file="folder")


if TYPE_CHECKING:
    from stack_recurrent import RecurrentPolicy

Stacked: TypeAlias = "NetworkPolicy | RecurrentPolicy"
"""A policy of a stack."""


class Trained(NamedTuple):
    """What a stack hands over."""

    policy: Stacked
    act: Callable[[Any], Any]
    """The library's own deterministic action of observations, shape (episodes, features); called slice by slice."""
    packages: tuple[str, ...]


def missing(stack: str, args: Args) -> str:
    """Return what is missing for a stack, in words; "" if nothing is."""
    libraries = ("stable_baselines3", "sb3_contrib")
    special = {
        "CleanRL PPO": (),
        "torchrl PPO": ("torchrl",),
        "Pathwise": (),
        "RecurrentPPO": (*libraries, "onnx", "onnxruntime"),
    }
    needs = special.get(stack, libraries)
    for module in ("torch", "safetensors", *needs):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    return "no --cleanrl WHEEL" if stack == "CleanRL PPO" and not args.cleanrl else ""


def train(stack: str, scenario: Scenario, seed: int, args: Args) -> Trained:
    """Train a stack on a scenario."""
    if stack == "CleanRL PPO":
        import stack_cleanrl

        return Trained(*stack_cleanrl.train(args.cleanrl, scenario, seed, args.slices), ("torch",))
    if stack == "torchrl PPO":
        import stack_torchrl

        return Trained(*stack_torchrl.train(scenario, seed, args.slices), ("torchrl", "tensordict", "torch"))
    if stack == "Pathwise":
        policy = _pathwise(scenario, seed, args)
        return Trained(policy, policy.action, ("torch",))
    if stack == "RecurrentPPO":
        import stack_recurrent

        return Trained(
            *stack_recurrent.train(scenario, seed, args.slices, args.lanes, args.network), ("sb3_contrib", "torch", "onnx")
        )
    import stack_sb3

    lanes = stack_sb3.Lanes(args.lanes, args.off_lanes)
    trained = stack_sb3.train(stack, scenario, seed, args.slices, lanes, network_of(stack, args))
    return Trained(*trained, ("stable_baselines3", "sb3_contrib", "torch"))


def network_of(stack: str, args: Args) -> tuple[int, ...]:
    """Return the hidden layers that a stack is given; none: those of its library."""
    return args.network if stack in SIZED else ()


def _pathwise(scenario: Scenario, seed: int, args: Args) -> NetworkPolicy:
    """Train by pathwise gradients: 16 episodes per gradient step, of which the default 1,024 would leave the budget too few."""
    lanes = 16
    options = pathwise.Args(
        scenario=scenario,
        seed=seed,
        out=str(Path(args.out) / "pathwise" / f"{file_name(scenario)}-{seed}"),
        lanes=lanes,
        steps=max(1, args.slices // (lanes * scenario.slices)),
        validation=256,
        validate_every=10,
        overwrite=True,
        progress=False,
    )
    return pathwise.train(options)


def observations_of(scenario: Scenario, action_mode: str, episodes: int = 40) -> Any:
    """Return the observations of some training episodes with random actions, shape (slices, episodes, features).

    An episode that ends early keeps its last observation, so that no policy with memory meets another episode; an episode that
    ends in the first slice is left out.
    """
    envs = hx.make_vec(scenario, episodes, action_mode=action_mode)
    envs.action_space.seed(0)
    seen, over = [envs.reset(seed=0)[0].copy()], np.zeros(episodes, dtype=bool)
    for _ in range(scenario.slices - 1):
        observation, _, ended, _, _ = envs.step(envs.action_space.sample())
        over |= ended
        seen.append(np.where(over[:, None], seen[-1], observation))
    begun = np.stack(seen)[1:, :, hx.observation_names().index("time_left")] >= 1.0
    return np.stack(seen)[:, ~begun.any(axis=0)]


def check_same(trained: Trained, scenario: Scenario) -> float:
    """Return the largest difference between the policy file's actions and the library's own.

    Raises:
        ValueError: More than one action in a thousand differs.
    """
    policy = trained.policy
    seen = observations_of(scenario, policy.action_mode)
    differs = np.abs([np.ravel(policy.action(each)) - np.ravel(trained.act(each)) for each in seen])
    if np.mean(differs > _TOLERANCE) > _TIES:
        raise ValueError(f"{policy.name} acts otherwise than its model: by up to {differs.max():.2g} on {scenario.name}")
    return float(differs.max())


def described(policy: Stacked) -> dict[str, Any]:
    """Return what decides whether a trained policy can be used again."""
    return {key: policy.about.get(key) for key in ("stack", "scenario_hash", "slices", "lanes", "network", "hyperexec_env")}


def read_stacked(folder: Path) -> Stacked | None:
    """Return the policy in a folder; None if the folder holds none."""
    if (folder / "policy.json").is_file():
        return load_policy(folder)
    if not (folder / "policy.onnx").is_file():
        return None
    import stack_recurrent

    return stack_recurrent.read_policy(folder)


def obtain(stack: str, scenario: Scenario, seed: int, args: Args, may_train: bool = True) -> Stacked | None:
    """Return a policy from its folder, or train it, check it and write it there; None if it must not be trained."""
    folder = Path(args.out) / "policies" / f"{file_name(stack)}-{file_name(scenario)}-{seed}"
    about: dict[str, Any] = {
        "stack": stack,
        "scenario_hash": scenario.hash,
        "slices": args.slices,
        "lanes": args.off_lanes if stack in OFF_POLICY else args.lanes if stack in LANES else 1,
        "network": list(network_of(stack, args)),
        "hyperexec_env": hx.__version__,
    }
    found = read_stacked(folder)
    if found is not None and described(found) == about:
        return found
    if not may_train:
        return None
    wall, processor = time.monotonic(), time.process_time()
    trained = train(stack, scenario, seed, args)
    about |= {"seconds": round(time.monotonic() - wall, 1), "processor_seconds": round(time.process_time() - processor, 1)}
    about |= {"difference": check_same(trained, scenario), "versions": versions(*trained.packages)}
    policy = replace(trained.policy, name=stack, about={"algorithm": stack, "scenario": scenario.to_dict(), **about})
    save_scenario(scenario, make_folder(folder))
    save_policy(policy, folder) if isinstance(policy, NetworkPolicy) else policy.save(folder)
    print(f"{stack}, {scenario.name}, seed {seed}: {about['processor_seconds']} s", flush=True)
    return policy


def obtain_all(args: Args) -> dict[str, list[Stacked]]:
    """Return the policies of each scenario; the first seed of everything is trained before the second of anything."""
    scenarios = [get_scenario(given) for given in args.scenario]
    lacking = {stack: missing(stack, args) for stack in args.stack}
    for stack, reason in lacking.items():
        if reason:
            print(f"{stack} is left out: {reason}", flush=True)
    stacks = [stack for stack in args.stack if not lacking[stack]]
    plan = [(stack, scenario, seed) for seed in range(args.seeds) for scenario in scenarios for stack in stacks]
    policies: dict[str, list[Stacked]] = {scenario.name: [] for scenario in scenarios}
    started = time.monotonic()
    with progress(len(plan), "train") as advance:
        for stack, scenario, seed in plan:
            in_time = not args.minutes or time.monotonic() - started < 60.0 * args.minutes
            policy = obtain(stack, scenario, seed, args, in_time)
            if policy is not None:
                policies[scenario.name].append(policy)
            advance(1)
    return policies


def write_submissions(args: Args, policies: dict[str, list[Stacked]]) -> None:
    """Pack each policy with its card, as ``hyperexec submit`` does."""
    for scenario, found in policies.items():
        for policy in found:
            packed = pack_submission(submission_of({**files_of(policy), "card.json": to_json(card_of(policy, scenario))}))
            folder = make_folder(Path(args.submissions) / file_safe(scenario))
            write_atomically(folder / f"{file_safe(policy.name)}-{policy.training_seed}.submission.zip", packed)


def card_of(policy: Stacked, scenario: str) -> dict[str, Any]:
    """Return the card of a policy."""
    libraries = ", ".join(f"{name} {version}" for name, version in policy.about["versions"].items())
    settings = "settings of benchmarks/stacks.py" if policy.name in OTHERS[-2:] else "default hyperparameters"
    units = policy.about["network"]
    settings += f" but for {' and '.join(map(str, units))} hidden units" if units else ""
    return {
        "name": policy.name,
        "authors": ["The HyperExec developers"],
        "method": f"{policy.name}, {settings}, {libraries}",
        "licence": "MIT",
        "training_scenarios": [scenario],
        "training_seed": policy.training_seed,
        "training_budget": f"{policy.about['slices']:,} slices",
        "action_mode": policy.action_mode,
        "observe_regime": True,
        "description": SMALL if units else "",
    }


def files_of(policy: Stacked) -> dict[str, bytes]:
    """Return the files of a policy by name, without its card."""
    if not isinstance(policy, NetworkPolicy):
        return {"policy.onnx": policy.graph}
    brief = {key: policy.about[key] for key in ("algorithm", "slices", "scenario_hash", "versions")}
    with tempfile.TemporaryDirectory() as folder:
        save_policy(replace(policy, about=brief), Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def entrant_of(policy: Stacked) -> NetworkPolicy | Entrant:
    """Return what a board judges."""
    return policy if isinstance(policy, NetworkPolicy) else policy.entrant()


def boards_of(args: Args, policies: dict[str, list[Stacked]]) -> Iterator[Board]:
    """Judge the policies and the classical ones on the same episodes of each scenario, and write the boards."""
    with Store(make_folder(args.out) / "results.sqlite") as store:
        for given in args.scenario:
            scenario = get_scenario(given)
            chosen = entrants(["all", *(entrant_of(policy) for policy in policies[scenario.name])])
            with progress(args.episodes, f"judge {scenario.name}") as advance:
                board = judge(
                    scenario,
                    chosen,
                    get_policy("TWAP"),
                    episodes=args.episodes,
                    seed=args.seed,
                    optimum=known_optimum(scenario),
                    store=store,
                    progress=advance,
                )
            for end, text in ((".json", board.to_json()), (".md", board.to_markdown())):
                write_atomically(Path(args.out) / f"{file_name(scenario)}{end}", text)
            yield board


def table(board: Board) -> str:
    """Return one row for each policy name: its mean objective, and its gap with the interval over episodes and seeds.

    Raises:
        ValueError: The optimum of the scenario is not known.
    """
    by_label = {row.label: outcome.statement.objective for row, outcome in zip(board.rows, board.outcomes, strict=True)}
    if board.optimum is None or board.optimum.optimum_bps is None or "optimum" not in by_label:
        raise ValueError(f"the optimum of {board.scenario.name} must be known")
    best, exact = by_label["optimum"], board.optimum.optimum_bps
    rows = []
    for name in dict.fromkeys(row.policy for row in board.rows if not row.optimum):
        own = [row for row in board.rows if row.policy == name and not row.optimum]
        gaps = np.array([by_label[row.label] - best for row in own])
        means, (low, high) = gaps.mean(axis=1), interquartile_interval(gaps, board.seed)
        spread = f"{means.min():+.2f} to {means.max():+.2f}" if len(own) > 1 else "-"
        mark, seeds = " *" if own[0].sanity else "", str(len(own)) if own[0].training_seed is not None else "-"
        gap = f"{means.mean():+.2f} [{low:+.2f}, {high:+.2f}]"
        cells = [name + mark, seeds, f"{exact + means.mean():.2f}", gap, f"{100.0 * means.mean() / abs(exact):.1f}", spread]
        rows.append((float(means.mean()), cells))
    header = ["policy", "seeds", "J", "gap to J* [95 %]", "gap %", "gaps of the seeds"]
    return markdown_table(header, [cells for _, cells in sorted(rows, key=lambda row: row[0])])


def report(args: Args, boards: Sequence[Board], policies: dict[str, list[Stacked]]) -> str:
    """Return the tables of all scenarios, and the processor time and agreement of each stack, as Markdown."""
    parts = []
    for board in boards:
        exact = board.optimum.optimum_bps if board.optimum is not None else None
        parts.append(f"### {board.scenario.name}: J* = {exact:.3f} bps\n\n{table(board)}")
    every = [policy for found in policies.values() for policy in found]
    rows = []
    for stack in dict.fromkeys(policy.name for policy in every):
        own = [policy.about for policy in every if policy.name == stack]
        seconds, differs = [each["processor_seconds"] for each in own], max(each["difference"] for each in own)
        rows.append([stack, str(len(own)), f"{np.mean(seconds):.1f}", f"{differs:.0e}", json.dumps(own[0]["versions"])[1:-1]])
    header = ["stack", "trainings", "processor seconds each", "largest difference to the model", "versions"]
    parts.append(f"### trainings of {args.slices:,} slices\n\n{markdown_table(header, rows)}")
    return "\n\n".join(parts) + "\n"


def main(words: Sequence[str]) -> None:
    """Train, judge, and write the tables."""
    parser = Parser(prog="stacks.py", description=__doc__.split("\n")[0])
    add_arguments(parser, Args)
    args = parse(Args, parser.parse_args(words))
    for stack in args.stack:
        if stack not in STACKS:
            parser.error(f"stack must be one of {', '.join(STACKS)}, got {stack}")
    for units in args.network:
        if units < 1:
            parser.error(f"network must hold positive numbers of units, got {units}")
    try:
        policies = obtain_all(args)
        if args.submissions:
            write_submissions(args, policies)
        if args.train_only:
            return
        text = report(args, list(boards_of(args, policies)), policies)
    except ValueError as error:
        parser.error(str(error))
    write_atomically(Path(args.out) / "stacks.md", text)
    print(f"\n{text}")


if __name__ == "__main__":
    main(sys.argv[1:])
