"""minari: record a data set of a policy for offline learning, with the results so far in every step's `info`.

pip install "minari[create,hdf5]"
"""

from __future__ import annotations

import sys

import minari
import numpy as np

import hyperexec_env as hx


def main(episodes: int = 200, name: str = "hyperexec/noisy-schedule-v0") -> minari.MinariDataset:
    """Record episodes of a policy that follows the volume schedule with noise, and return the data set."""
    env = minari.DataCollector(hx.make("regime-day", info="full"), record_infos=True)
    rng = np.random.default_rng(0)
    for episode in range(episodes):
        env.reset(seed=0 if episode == 0 else None)
        ended = False
        while not ended:
            action = np.clip(rng.normal(0.0, 0.3, 1), -1.0, 1.0).astype(np.float32)
            _, _, ended, _, _ = env.step(action)
    return env.create_dataset(dataset_id=name, algorithm_name="schedule with noise", description="HyperExec, regime-day")


if __name__ == "__main__":
    data = main(*map(int, sys.argv[1:2]), *sys.argv[2:])
    costs = [episode.infos["objective_bps"][-1] for episode in data.iterate_episodes()]
    print(f"{data.total_episodes} episodes, {data.total_steps} steps, mean objective {np.mean(costs):.2f} bps")
