"""Vector environments whose lanes run the plans of a program, in numpy or in compiled loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.compiled import CompiledLanes, resolve_backend
from hyperexec_env.backends.plan import Program
from hyperexec_env.checks import check_integer
from hyperexec_env.envs.info import LazyInfo
from hyperexec_env.envs.native_vector import NativeVectorEnv, Stepped
from hyperexec_env.market.lane import Ticket
from hyperexec_env.records import fill_record, leaves, numbers

__all__ = ["ProgramVectorEnv"]

_FINAL: Final = (("final", "observation"), ("final_mask", "mask"))
"""Array with a row for each lane that ended, and the array over all lanes whose rows it has."""
Bools = NDArray[np.bool_]
Arrays = dict[str, NDArray[Any]]


class ProgramVectorEnv(NativeVectorEnv):
    """A vector environment whose lanes run the plans `reset`, `step` and `trade` of a program.

    A subclass calls :meth:`_open` and :meth:`_start`, and defines :meth:`_program`, :meth:`_outputs_of`, :meth:`_told` and
    :meth:`_so_far`. The results of lanes that ended are computed in `info` when it is first read, so they cost nothing unread.
    """

    _lanes: Any = None
    _clock: Any
    """Record type of the lanes whose field `over` says whether the episode is over."""
    _result: Any
    """Record type of the result of an episode that ended, which the program lists in the array `settled`."""
    _copy = True

    def _check_backend(self, backend: str, num_threads: Any) -> None:
        """Check and store the options of the backend."""
        self._compiled = resolve_backend(backend) == "numba"
        self._threads = None if num_threads is None else check_integer("num_threads", num_threads, low=1, high=256)

    def _start(self, members: tuple[int, ...] = (), values: tuple[int, ...] = ()) -> None:
        """Make the lanes and the arrays that their plans read and write.

        Args:
            members: Number of the members of a lane, or nothing.
            values: Leading dimensions of the array of the actions, before the lanes.
        """
        self._lanes = self._new_lanes()
        self._outputs, count = self._outputs_of(self.num_envs, self._limit), self.num_envs
        self._returned = self._empty()
        self._given = {"values": np.zeros((*values, count)), "chosen": np.zeros(count, np.bool_)}
        self._ended = {"settled": np.zeros((*members, count, len(leaves(self._result))))}
        """Results of the lanes that ended in the last step, in the first rows of each part; the next step overwrites them."""
        self._same_step, self._disabled = (
            self.autoreset_mode == mode for mode in (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)
        )
        if self._same_step:
            self._ended |= {final: np.zeros_like(self._returned[name]) for final, name in _FINAL if name in self._returned}
        self._over = np.zeros(count, np.bool_)
        """Lanes that must be reset before the next step (autoreset mode "Disabled"), shape (lanes,)."""
        self._watching = self._full
        """Whether every step notes the lanes."""

    def _program(self) -> Program:
        """Return the program of the lanes."""
        raise NotImplementedError

    def _outputs_of(self, lanes: int, limit: int | None) -> dict[str, tuple[Any, Any]]:
        """Return (shape, dtype) of each array that the plans write for all lanes, by name."""
        raise NotImplementedError

    def _told(self, settled: Any, terminated: Bools, lanes: Bools) -> dict[str, Any]:
        """Return the results of some lanes as `info`.

        Args:
            settled: Result of all lanes, as the program lists it: a record, of members a list of records.
            terminated: Lanes whose episode terminated.
            lanes: The lanes whose results are returned.
        """
        raise NotImplementedError

    def _so_far(self, over: Bools) -> Callable[[], Any]:
        """Note the lanes now, and return the function that computes their results so far; `over`: their episode is over."""
        raise NotImplementedError

    # hooks that few kinds of orders need

    def _selected(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the observations that the agent asked for."""
        return observations

    def _mask_of(self, masks: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return masks of all actions, shape (lanes, actions), in the shape of `info`."""
        return masks

    def _check_outputs(self, arrays: Arrays, over: Bools) -> None:
        """Check what a plan wrote."""

    def _rewards(self, arrays: Arrays) -> NDArray[np.float64]:
        """Return the rewards."""
        return arrays["reward"]

    def _refused(self, given: Any, lane: int) -> Exception:
        """Return the error for the invalid action of a lane, given all actions."""
        try:
            self.task.checked(given, (self.num_envs,))
        except ValueError as error:
            return error
        return ValueError(f"the action of lane {lane} is out of range, got {given!r}")

    # lanes

    def _new_lanes(self) -> CompiledLanes | ArrayLanes:
        """Return new lanes, without persistent records."""
        program = self._program()
        return CompiledLanes(program, self.num_envs, self._threads) if self._compiled else ArrayLanes(program, self.num_envs)

    def _kept(self) -> tuple[Any, ...]:
        """Return the types of the records that persist between steps: of the episodes, and of their members."""
        program = self._lanes.program
        return (*program.kept, *(program.members[0].kept if program.members else ()))

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, with the position of the lanes in place of the lanes, whose stages cannot be pickled."""
        return {**self.__dict__, "_lanes": self.position() if self._begun else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the attributes and make new lanes at the position."""
        self.__dict__.update(state)
        position, self._lanes = self._lanes, self._new_lanes()
        if position is not None:
            self._put(position)

    def _empty(self) -> Arrays:
        """Return new output arrays of a plan, by name."""
        return {name: np.empty(shape, kind) for name, (shape, kind) in self._outputs.items()}

    def _restart(self, chosen: Bools, set_tickets: Callable[[Ticket], bool]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes."""
        ticket: Ticket = self._lanes.record(Ticket) if self._begun else self._ticket
        if set_tickets(ticket) or not self._begun:
            self._lanes.put(Ticket, ticket)
        self._begun = True
        return self._observe(chosen)

    def _observe(self, chosen: Bools) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the chosen lanes, and return the observations of all lanes."""
        self._given["chosen"][:] = chosen
        arrays = self._empty()  # never overwrite the arrays of the last step: they show how lanes ended
        self._lanes.run("reset", self._given | arrays)
        self._over &= ~chosen
        info = self._running_info(arrays)
        if self._watching:
            info = self._watched(info, chosen.copy(), np.zeros(self.num_envs, np.bool_))
        self._check_outputs(arrays, ~chosen)
        return self._selected(arrays["observation"]), info

    def _check_begun(self, name: str) -> None:
        """Raise ResetNeeded if no episode has begun, or a lane is over and begins no episode by itself."""
        if not self._begun:
            raise ResetNeeded(f"the episodes were never begun: call reset() before {name}")
        if self._disabled and self._over.any():
            lane, count = int(self._over.argmax()), int(self._over.sum())
            raise ResetNeeded(f"lane {lane} (one of {count}) is over: reset it with options={{'reset_mask': mask}}")

    def _run(self, plan: str, given: Any) -> Stepped:
        """Run the plan `step` or `trade`; `given` are the actions, for the message of a refused action."""
        arrays = self._empty() if self._copy else self._returned
        counts = self._lanes.run(plan, {**self._given, **arrays, **self._ended})
        if counts[0] < 0:
            raise self._refused(given, -1 - counts[0])
        terminated = arrays["terminated"]
        truncated = np.zeros(self.num_envs, np.bool_) if self._limit is None else arrays["truncated"]
        info = running = self._running_info(arrays)
        if any(counts):
            ended = terminated if self._limit is None else terminated | truncated
            if self._disabled:
                self._over = ended.copy()
            info = self._final_info(terminated.copy(), ended.copy(), counts, running)
        if self._watching:
            info = self._watched(info, np.ones(self.num_envs, np.bool_), terminated.copy())
        self._check_outputs(arrays, terminated | truncated)
        return self._selected(arrays["observation"]), self._rewards(arrays), terminated, truncated, info

    def _running_info(self, arrays: Arrays) -> dict[str, Any]:
        """Return the `info` of running lanes: the action masks of discrete actions."""
        if not self.task.discrete:
            return {}
        return {"action_mask": self._mask_of(arrays["mask"]), "_action_mask": np.ones(self.num_envs, np.bool_)}

    def _final_info(self, terminated: Bools, ended: Bools, counts: list[int], running: dict[str, Any]) -> LazyInfo:
        """Return the `info` of a step in which lanes ended (terminated, or truncated too).

        Results are copied now and put into arrays when `info` is read.
        """
        settled = self._filled("settled", counts)
        finals = {name: self._filled(name, counts) for name, _ in _FINAL if name in self._ended}
        if finals:
            finals["final"] = self._selected(finals["final"])

        def build() -> dict[str, Any]:
            columns = np.zeros((*settled.shape[:-2], settled.shape[-1], self.num_envs))
            columns[..., ended] = np.swapaxes(settled, -1, -2)
            told = ended if self._full else terminated
            info = self._told(self._results(columns), terminated, told) if told.any() else {}
            if not finals:
                return info
            if self.task.discrete:
                masks = np.zeros((self.num_envs, finals["final_mask"].shape[1]), np.int8)
                masks[ended] = finals["final_mask"]
                info |= {"action_mask": self._mask_of(masks), "_action_mask": ended.copy()}
            last = np.full(self.num_envs, None, dtype=object)
            for lane, row in zip(np.flatnonzero(ended).tolist(), finals["final"], strict=True):
                last[lane] = row
            return {"final_obs": last, "_final_obs": ended, "final_info": info, "_final_info": ended.copy()}

        return LazyInfo(running, build)

    def _results(self, columns: NDArray[np.float64]) -> Any:
        """Return the result of all lanes, a record of arrays, of the array `settled` with the lanes last; of members a list."""
        return [self._results(each) for each in columns] if columns.ndim > 2 else fill_record(self._result, iter(columns))

    def _filled(self, name: str, counts: list[int]) -> NDArray[Any]:
        """Return a copy of the rows that the lanes which ended wrote to an array, in the order of the lanes."""
        rows = self._ended[name]
        axis = rows.ndim - 2
        if len(counts) == 1:
            return rows[..., : counts[0], :].copy()
        parts = zip(self._lanes.parts, counts, strict=True)
        return np.concatenate([rows[..., first : first + count, :] for (first, _), count in parts], axis)

    def _watched(self, info: dict[str, Any], lanes: Bools, terminated: Bools) -> dict[str, Any]:
        """Note the lanes, and return the `info` of some lanes with their results so far if `info` is to be full.

        Args:
            info: The `info` without them.
            lanes: The lanes.
            terminated: Lanes whose episode has terminated in this step.
        """
        if not self._full:
            return info
        over = terminated & (self._lanes.record(self._clock).over != 0)
        settle = self._so_far(over)
        return LazyInfo(info, lambda: dict(info.items()) | self._told(settle(), over, lanes))

    def position(self) -> Arrays:
        """Return the state of all lanes, for :meth:`go_on`: arrays of shape (lanes,) by name."""
        return {
            name: values
            for kind in self._kept()
            for name, values in zip(self._names(kind), numbers(tuple(self._listed(kind))), strict=True)
        }

    def _listed(self, kind: Any) -> list[Any]:
        """Return a record of the lanes in a list, or the list of the records of their members."""
        record = self._lanes.record(kind)
        return [record] if kind in self._lanes.program.kept else record

    def _names(self, kind: Any) -> list[str]:
        """Return the names of the arrays of a record type in a position."""
        program = self._lanes.program
        names = [f"{kind.__name__}.{path}" for path, _ in leaves(kind)]
        if kind in program.kept:
            return names
        return [f"{member}.{name}" for member in range(len(program.members)) for name in names]

    def go_on(self, position: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Restore the state of all lanes from :meth:`position` of an environment with equal options; return their observations.

        Raises:
            KeyError: The position lacks an array; the message names the array.
        """
        self._put(position)
        self._begun = True
        self._over = np.asarray(position[f"{self._clock.__name__}.over"] != 0) & self._disabled
        return self._observe(np.zeros(self.num_envs, np.bool_))[0]

    def _put(self, position: Mapping[str, NDArray[Any]]) -> None:
        """Restore the records of all lanes from a position."""
        program = self._lanes.program
        for kind in self._kept():
            values = iter([position[name] for name in self._names(kind)])
            records = [fill_record(kind, values) for _ in range(1 if kind in program.kept else len(program.members))]
            self._lanes.put(kind, records[0] if kind in program.kept else records)

    def close_extras(self, **kwargs: Any) -> None:
        """Stop the threads of the compiled loops; gymnasium also closes an environment whose options were refused."""
        if self._lanes is not None:
            self._lanes.close()
