"""Slices a second of the market in torch, of pathwise gradients through it, and of PPO-fast, on a device.

    python benchmarks/gpu.py --device cuda --lanes 262144 --seconds 20

`market` runs a policy over episodes whose draws lie on the device, without gradients; `gradient` adds the gradient of J and the
step of Adam; `training` adds the draws of new episodes, by numpy, and is what `hyperexec train pathwise` reaches. `PPO-fast`
trades in the compiled lanes of the processor and learns on the device. The same code runs on a processor (`--device cpu`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hyperexec_env.arguments import Parser, add_arguments, option, parse, scenario_option
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.training import pathwise, ppo_fast


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    scenario: str = scenario_option()
    device: str = option("cpu", "device of torch", choices=("cpu", "cuda"))
    lanes: int = option(16_384, "episodes of a gradient step of pathwise gradients")
    seeds: int = option(8, "trainings of PPO-fast at once")
    ppo_lanes: int = option(192, "lanes of each of them")
    seconds: float = option(5.0, "time of each measurement, after one step that is not counted")
    threads: int = option(1, "torch threads")


def rate(step: Callable[[], object], slices: int, args: Args) -> float:
    """Return the slices a second of a function that trades some slices."""
    step()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < args.seconds:
        step()
        if args.device == "cuda":
            torch.cuda.synchronize()
        done += slices
    return done / (time.perf_counter() - started)


def measure(args: Args) -> dict[str, float]:
    """Return the slices a second, by what was measured."""
    torch.set_num_threads(args.threads)
    scenario = get_scenario(args.scenario)
    same = {"scenario": args.scenario, "device": args.device, "threads": args.threads, "progress": False}
    course = pathwise.Args(**same, lanes=args.lanes, validation=2, steps=10**9)
    pathwise.check(course)
    trainer = pathwise.Trainer(course, scenario)
    lanes = trainer.draw(2**41, 0, args.lanes)

    def market() -> None:
        with torch.no_grad():
            trainer.roll(trainer.weights, lanes)

    def gradient() -> None:
        trainer.adam.zero_grad()
        trainer.loss(trainer.roll(trainer.weights, lanes)).backward()
        trainer.adam.step()

    slices = args.lanes * scenario.slices
    found = {name: rate(step, slices, args) for name, step in (("market", market), ("gradient", gradient))}
    found["training"] = rate(trainer.learn, slices, args)
    options = ppo_fast.Args(**same, lanes=args.ppo_lanes, seeds=args.seeds, timesteps=10**12)
    ppo_fast.check(options)
    learner = ppo_fast.PpoTrainer(options, scenario)
    return {**found, "PPO-fast": rate(learner.learn, learner.rows * args.seeds, args)}


def main(words: list[str]) -> None:
    """Print the rates as JSON."""
    parser = Parser(prog="gpu.py", description=(__doc__ or "").split("\n")[0])
    add_arguments(parser, Args)
    found = measure(parse(Args, parser.parse_args(words)))
    print(json.dumps({name: round(value) for name, value in found.items()}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
