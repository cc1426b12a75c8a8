"""Train policies by a lean PPO without a critic, several seeds at once.

Lanes that trade the same path are each other's baseline. It is several times as fast as `train ppo`, and nearer to the optimum
with the same slices; it needs torch, but not stable-baselines3. It trains orders of one asset, over venues, and baskets.
"""

from __future__ import annotations

from hyperexec_env.cli._command import Report
from hyperexec_env.training.ppo_fast import Args, train
from hyperexec_env.training.run import Trained

__all__ = ["Args", "main"]

ORDER = 3.5


def main(args: Args) -> Trained | Report:
    """Train the policies, and return the first and its folder, or a report on several."""
    policy = train(args)
    about, folder = policy.about, args.folder
    first = Trained(policy, folder, args.scenario if isinstance(args.scenario, str) else about["scenario"]["name"])
    if args.seeds == 1:
        return first
    last, slices, seconds = args.seed + args.seeds - 1, about["timesteps"], about["seconds"]
    text = (
        f"trained {policy.name} of the seeds {args.seed} to {last} for {slices:,} slices each in {seconds:.0f} s; "
        f"saved in {folder}\nevaluate them: hyperexec evaluate --scenario {args.scenario} --policy baselines {folder}/seed-*"
    )
    plain = first.to_dict()
    del plain["training_seed"]
    return Report(text, {**plain, "training_seeds": [*range(args.seed, last + 1)], "folders": [*map(str, args.folders)]})
