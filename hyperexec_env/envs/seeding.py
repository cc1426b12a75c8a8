"""Seeds and numbers of episodes that a reset gives, for single and vector environments of orders and of baskets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_seed
from hyperexec_env.envs.task import check_episode, check_reset_options
from hyperexec_env.market.lane import Ticket
from hyperexec_env.market.noise import as_words, seed_words

__all__ = ["EpisodeNumbers", "chosen_lanes", "lane_episodes", "lane_seeds", "new_tickets", "next_block", "set_tickets"]


class _Block(Protocol):
    """The paths of consecutive episodes."""

    first: int
    """Number of the first episode."""
    count: int
    """Number of episodes."""


_AnyBlock = TypeVar("_AnyBlock", bound=_Block)


def next_block(block: _AnyBlock | None, number: int, largest: int, draw: Callable[[int, int], _AnyBlock]) -> _AnyBlock:
    """Return the block that holds an episode; block sizes double while episodes are consecutive.

    Args:
        block: The last block.
        number: Number of the episode.
        largest: Largest number of episodes of a block.
        draw: Function from the number of the first episode and the number of episodes to a block.
    """
    if block is not None and block.first <= number < block.first + block.count:
        return block
    follows = block is not None and number == block.first + block.count
    return draw(number, min(2 * block.count, largest) if block is not None and follows else 1)


@dataclass
class EpisodeNumbers:
    """Seed and number of the running episode of a single environment."""

    seed: int = 0
    episode: int = -1
    board: bool = False
    begun: bool = False
    """Whether an episode has begun."""

    def advance(self, seed: int | None, options: Mapping[str, Any] | None, seeded: Callable[[int | None], int]) -> bool:
        """Go to the next episode of the seed, or to episode 0 of a new seed, and return whether the seed is new.

        Args:
            seed: New seed; None keeps the seed, or takes the one that `seeded` returns at first.
            options: Options of the reset: `episode`, the number of the episode to begin, and `board`.
            seeded: Function that resets gymnasium's generator with a seed and returns the seed that it has.

        Raises:
            ValueError: A bad seed or option; nothing changes.
        """
        if seed is None and options is None and self.begun:  # the usual reset, which takes no generator anew
            self.episode += 1
            return False
        given = check_reset_options(options, ("episode", "board"), seed is not None)
        number = check_episode(given["episode"]) if "episode" in given else None
        drawn = seeded(None if seed is None else check_seed(seed))
        renewed = seed is not None or not self.begun
        if renewed:
            self.seed, self.episode, self.board, self.begun = drawn, -1, given.get("board", False), True
        self.episode = self.episode + 1 if number is None else number
        return renewed


def chosen_lanes(mask: Any, lanes: int) -> NDArray[np.bool_]:
    """Return the reset option `reset_mask`, or all lanes if it is None.

    Raises:
        ValueError: The mask is not a bool array of shape (lanes,) with a True in it.
    """
    if mask is None:
        return np.ones(lanes, np.bool_)
    chosen: NDArray[np.bool_] = np.asarray(mask)
    if chosen.shape != (lanes,) or chosen.dtype != np.bool_ or not chosen.any():
        raise ValueError(
            f"reset option 'reset_mask' must be a bool array of shape ({lanes},) with a True in it, got {chosen!r}"
        )
    return chosen


def lane_episodes(given: Any, lanes: int) -> NDArray[np.uint64] | None:
    """Return the reset option `episode` as words, shape (lanes,), or None.

    Raises:
        ValueError: The option has another shape, or a number that is not whole or out of range.
    """
    if given is None:
        return None
    episodes = np.asarray(given, dtype=object)  # keeps True apart from 1
    if episodes.shape not in ((), (lanes,)):
        raise ValueError(
            f"reset option 'episode' must be a whole number or {lanes} of them, got an array of shape {episodes.shape}"
        )
    return np.broadcast_to(as_words([check_episode(number) for number in episodes.ravel().tolist()]), lanes)


def lane_seeds(seed: Any, lanes: int) -> list[int | None]:
    """Return the seed of each lane, s + i for a whole number s; None for a lane that keeps its seed.

    Raises:
        ValueError: The seed is neither a whole number nor a list of one for each lane.
    """
    seeds: Any = [None] * lanes if seed is None else seed
    if isinstance(seed, (int, np.integer)):
        seeds = [check_seed(seed) + lane for lane in range(lanes)]
    if not isinstance(seeds, (list, tuple, np.ndarray)) or len(seeds) != lanes:
        raise ValueError(f"seed must be a whole number or a list of {lanes} of them, got {seed!r}")
    return [None if value is None else check_seed(value) for value in seeds]


def new_tickets(lanes: int) -> Ticket:
    """Return the tickets of lanes with random seeds, fields of shape (lanes,)."""
    drawn = np.random.SeedSequence().generate_state(lanes, np.uint64)
    return Ticket(seed_words(drawn), np.zeros(lanes, dtype=np.uint64))


def set_tickets(
    ticket: Ticket, seeds: list[int | None], chosen: NDArray[np.bool_], episodes: NDArray[np.uint64] | None, board: bool
) -> bool:
    """Write the seeds and the episode numbers of the chosen lanes, and return whether a lane has new ones.

    A lane with a new seed begins with episode 0.
    """
    given = [lane for lane in np.flatnonzero(chosen).tolist() if seeds[lane] is not None]
    ticket.seed[given] = seed_words([seeds[lane] for lane in given], board)
    ticket.episode[given] = 0
    if episodes is not None:
        ticket.episode[chosen] = episodes[chosen]
    return bool(given) or episodes is not None
