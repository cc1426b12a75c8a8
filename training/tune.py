"""Tune the options of a training: proposals by optuna, successive halving, and the gap on episodes of their own.

Trials are proposed in batches, from the finished batches before. Every trial of a batch is trained with a fraction of the
budget; the best of them are trained again, from scratch, with a larger one, up to the whole budget in the last rung (successive
halving, Jamieson and Talwalkar 2016). From scratch, because learning rates decay with the budget. A trial counts by the mean
gap of its policies to the optimum, over its training seeds, on episodes that neither a training nor a board meets.

Nothing depends on the number of workers: a batch is proposed before any of it is trained. The journal holds finished trials
only, one line each; the folders of the trainings hold the rest, so that the same command continues where it was stopped.
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env import __version__
from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.distribution import MarketDistribution
from hyperexec_env.baselines.universal import load_trained
from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.evaluation.network import NetworkPolicy, policy_files
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenario import ScenarioLike
from hyperexec_env.progress import progress
from hyperexec_env.workers import check_workers

from . import dqn, pathwise, ppo, ppo_fast, sac, universal
from .checkpoints import FOLDER, checkpoint_files
from .folder import file_name
from .interruption import Interrupted
from .leaderboard import READERS
from .lock import LOCK, claimed
from .run import Diverged, check_training
from .search_space import distributions, fixed_options, names_and_texts
from .selection import Problem, problem_of, scenario_name, touch_of
from .tuned import Trial, Tuned
from .validation_gap import MARKETS, VALIDATION_SEED, markets_of, optimum_of, validation_gap

__all__ = ["ALGORITHMS", "Args", "tune"]

JOURNAL: Final = "journal.log"
BEST: Final = "best.json"
_TRIALS: Final = "trials"
"""Names in the folder of a tuning."""
_STUDY: Final = "tune"
"""Name of the study in the journal."""


class Algorithm(NamedTuple):
    """A training script that can be tuned."""

    args: type
    """Dataclass of its options."""
    train: Callable[[Any], NetworkPolicy]
    check: Callable[[Any], Any]
    """Function that checks options, and returns the scenario, or the distribution of markets."""
    budget: str
    """Option that holds the budget of a training."""
    space: tuple[str, ...]
    """The options that vary, and their ranges; see :mod:`.search_space`."""


def _checked(args: Any, touch: bool, several: bool) -> Any:
    """Check the options of a script of stable-baselines3, and return its scenario; errors as in its training."""
    check_training(args)
    at_touch = touch_of(args) if touch else None
    return at_touch or problem_of(args, several=several)[0]


_OFF_POLICY: Final = ("learning_rate=1e-4..3e-3", "gradient_steps=2..16", "batch_size=256,512,1024,2048", "hidden=32,64,128")
ALGORITHMS: Final[dict[str, Algorithm]] = {
    "ppo": Algorithm(
        ppo.Args,
        ppo.train,
        partial(_checked, touch=True, several=True),
        "timesteps",
        (
            *("learning_rate=3e-4..1e-2", "lanes=64,128,192,256", "batch_size=512,1024,2048,4096", "epochs=3..10"),
            *("gae_lambda=0.9..1", "clip=0.1..0.3", "log_std=-2..0", "hidden=32,64,128"),
        ),
    ),
    "ppo-fast": Algorithm(
        ppo_fast.Args,
        ppo_fast.train,
        ppo_fast.check,
        "timesteps",
        (
            *("learning_rate=3e-4..1e-2", "paired=4,8,16,48", "batch_size=512,1024,2048,4096", "epochs=1..6"),
            *("clip=0.1..0.8", "log_std=-2..0", "hidden=32,64,128"),
        ),
    ),
    "sac": Algorithm(
        sac.Args, sac.train, partial(_checked, touch=False, several=False), "timesteps", (*_OFF_POLICY, "tau=0.005..0.05")
    ),
    "dqn": Algorithm(
        dqn.Args,
        dqn.train,
        partial(_checked, touch=True, several=False),
        "timesteps",
        (*_OFF_POLICY, "target_interval=1000..20000", "exploration=0.1..0.6"),
    ),
    "pathwise": Algorithm(
        pathwise.Args,
        pathwise.train,
        pathwise.check,
        "steps",
        ("learning_rate=3e-4..3e-2", "lanes=256,512,1024,2048", "hidden=32,64,128"),
    ),
    "universal": Algorithm(
        universal.Args,
        universal.train,
        universal.check,
        "steps",
        ("learning_rate=3e-4..1e-2", "markets=16,32,64", "hidden=32,64,128"),
    ),
}
"""The scripts, by name; to add one, name its functions, its budget and its search space here."""
_OWN: Final = frozenset(
    ("scenario", "seed", "seeds", "out", "seconds", "resume", "overwrite", "progress", "tensorboard", "device")
)
"""Options of a training that a tuning sets itself, or that would make it irreproducible."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec tune``."""

    algorithm: str = option("ppo", "training script to tune", positional=True, choices=tuple(ALGORITHMS))
    scenario: ScenarioLike = scenario_option()
    trials: int = option(40, "number of trials, whole batches; more than before continue the study")
    out: str = option("", "folder of the study (default: runs/tune-ALGORITHM-SCENARIO)", file="folder")
    vary: tuple[str, ...] = option(
        (), "replace the search space: NAME=LOW..HIGH or NAME=A,B,C, options of the training (default: that of the algorithm)"
    )
    set: tuple[str, ...] = option((), "NAME=VALUE, an option of every training, such as timesteps=500000")
    batch: int = option(8, "trials proposed at once, before any of them is trained")
    rungs: int = option(3, "budgets of successive halving; the last is the whole budget of the training (1: no pruning)")
    reduction: int = option(3, "ratio of two budgets, and of the trials that reach the next one")
    seeds: int = option(1, "training seeds of each trial, 0, 1, ...; a trial counts by their mean")
    episodes: int = option(4096, "validation episodes, which neither a training nor a board meets")
    seed: int = option(0, "seed of the proposals")
    workers: int = option(1, "processes that share the trainings; the results are those of one process")
    ray: str = option("", "address of a ray cluster that does so instead, on a shared disk (extra dist); auto: this machine's")
    progress: bool = option(True, "show a progress bar")

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        of_scenario = "scenario" in {item.name for item in fields(ALGORITHMS[self.algorithm].args)}
        words = ["tune", self.algorithm, *([file_name(scenario_name(self))] if of_scenario else [])]
        return Path(self.out) if self.out else Path("runs") / "-".join(words)

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the study."""
        return [self.folder / name for name in (JOURNAL, BEST, _TRIALS, LOCK)]


class _Plan(NamedTuple):
    """A study whose options are checked."""

    args: Args
    algorithm: Algorithm
    problem: Any
    """The scenario, or the distribution of markets."""
    space: Mapping[str, Any]
    """optuna distribution of each option that varies."""
    fixed: Mapping[str, Any]
    """Value of each option that does not vary and is not the default."""
    budgets: tuple[int, ...]
    """Budget of a training in each rung."""

    def options(self, number: int, parameters: Mapping[str, Any], rung: int, seed: int) -> Any:
        """Return the options of a training."""
        out = str(self.args.folder / _TRIALS / f"{number:04d}" / f"rung-{rung}-seed-{seed}")
        own = {"scenario": self.args.scenario, "progress": False, "tensorboard": False}
        known = {item.name for item in fields(self.algorithm.args)}
        given = {name: value for name, value in own.items() if name in known}
        values = {**self.fixed, **parameters, self.algorithm.budget: self.budgets[rung], "seed": seed, "out": out}
        return self.algorithm.args(**given, **values)

    def fault(self, number: int, parameters: Mapping[str, Any]) -> str:
        """Return why parameters are no valid options of a training, or ""."""
        try:
            self.algorithm.check(self.options(number, parameters, len(self.budgets) - 1, 0))
        except ValueError as error:
            return str(error)
        return ""

    def definition(self) -> dict[str, Any]:
        """Return the values that a study and its continuation must share."""
        optuna, args = need("optuna", "tune"), self.args
        same = {name: getattr(args, name) for name in ("algorithm", "batch", "rungs", "reduction", "seeds", "episodes", "seed")}
        space = {name: optuna.distributions.distribution_to_json(each) for name, each in self.space.items()}
        versions = {"hyperexec_env": __version__, "optuna": optuna.__version__}
        return {**same, "scenario_hash": self.problem.hash, "vary": space, "set": dict(self.fixed), **versions}


def _plan(args: Args) -> _Plan:
    """Check the options of a study.

    Raises:
        ValueError: An option is invalid.
        MissingExtra: The packages of the extras `tune` and `train` are not installed.
    """
    check_choice("algorithm", args.algorithm, tuple(ALGORITHMS))
    algorithm = ALGORITHMS[args.algorithm]
    for name, low in (("trials", 1), ("batch", 1), ("rungs", 1), ("reduction", 2), ("seeds", 1)):
        check_integer(name, getattr(args, name), low=low, high=10**6)
    check_integer("episodes", args.episodes, low=2 * MARKETS, high=10**7)
    check_integer("seed", args.seed, low=0, high=2**32 - 1)
    if args.trials % args.batch:
        whole = -(-args.trials // args.batch) * args.batch
        raise ValueError(f"trials must be a multiple of batch ({args.batch}), got {args.trials}; pass --trials {whole}")
    names = {item.name for item in fields(algorithm.args)}
    if "scenario" not in names and args.scenario != "regime-day":
        raise ValueError(f"scenario is not an option of {args.algorithm}, got {args.scenario!r}; pass --set distribution=FILE")
    of_days = {item.name for item in fields(Problem)} - {"uncertainty"} if issubclass(algorithm.args, Problem) else set()
    reserved = (_OWN | of_days) & names
    fixed = fixed_options(algorithm.args, names_and_texts(args.set, "set"), reserved)
    varied = names_and_texts(args.vary or algorithm.space, "vary")
    if not args.vary:
        varied = {name: text for name, text in varied.items() if name not in fixed}
    budget = fixed.pop(algorithm.budget, getattr(algorithm.args(), algorithm.budget))
    check_integer(algorithm.budget, budget, low=args.reduction ** (args.rungs - 1), high=10**12)
    space = distributions(algorithm.args, varied, {*reserved, algorithm.budget, "checkpoint_every", "threads"})
    for name in fixed.keys() & space.keys():
        raise ValueError(f"{name} must be either set or varied, got both")
    budgets = tuple(budget // args.reduction**down for down in reversed(range(args.rungs)))
    plan = _Plan(args, algorithm, None, space, fixed, budgets)
    return plan._replace(problem=algorithm.check(plan.options(0, {}, len(budgets) - 1, 0)))


def tune(args: Args) -> Tuned:
    """Tune a training script, and return the trials; the same options continue a study that was stopped.

    Raises:
        ValueError: An option is invalid, the folder contains another study, every trial of a batch failed, or another process
            writes to the folder.
        MissingExtra: The packages of the extras `tune` and `train` are not installed.
        Interrupted: A signal was received; a checkpoint was written.
    """
    plan, workers = _plan(args), check_workers(args.workers, args.ray)
    with claimed(args.folder) as folder:
        study = _study(folder / JOURNAL, plan)
        for market in markets_of(plan.problem):
            optimum_of(market)  # once, before the workers read it from the cache
        known = [_from_journal(each) for each in study.trials]
        begun = len(known) // args.batch * args.batch
        share = partial(workers.map, _judging, _Judged(args.algorithm, plan.problem, args.episodes))
        left = _trainings(args) * max(0, args.trials - begun) // args.batch
        bar = progress(left, f"tune {args.algorithm}") if args.progress else nullcontext(lambda done: None)
        with bar as advance, _said_how_to_continue():
            for first in range(begun, args.trials, args.batch):
                batch = _batch(plan, first, _proposed(plan, study.trials[:first]), share, advance)
                for trial in batch[len(known) - first :]:
                    study.add_trial(_for_journal(plan, trial))
                    known.append(trial)
                print(_line(batch, args), flush=True)
        tuned = _tuned(plan, known[: args.trials])
        best = {key: value for key, value in tuned.to_dict().items() if key != "trials"}
        write_atomically(folder / BEST, json.dumps(best, indent=2, allow_nan=False) + "\n")
    return tuned


@contextmanager
def _said_how_to_continue() -> Iterator[None]:
    """Say, after the message of a training that a signal stopped, how the study goes on."""
    try:
        yield
    except Interrupted:
        print("the study is in its journal: the same command of hyperexec tune continues it", file=sys.stderr)
        raise


def _line(batch: Sequence[Trial], args: Args) -> str:
    """Return a line about a batch that is done."""
    values = [trial.values[-1] for trial in batch if trial.finished(args.rungs)]
    best = f"best {min(values):.4g} ({batch[0].unit})" if values else "none was trained with the whole budget"
    return f"trials {batch[0].number} to {batch[-1].number} of {args.trials}: {best}"


def _promoted(count: int, reduction: int) -> int:
    """Return how many of some trials reach the next rung: one of `reduction`, rounded up."""
    return -(-count // reduction)


def _trainings(args: Args) -> int:
    """Return the number of trainings of a batch of which no trial fails."""
    counts = [args.batch]
    for _ in range(args.rungs - 1):
        counts.append(_promoted(counts[-1], args.reduction))
    return sum(counts) * args.seeds


def _batch(
    plan: _Plan,
    first: int,
    proposed: Sequence[Mapping[str, Any]],
    share: Callable[[Any], Iterator[_Result]],
    advance: Callable[[int], None],
) -> list[Trial]:
    """Train the trials of a batch by successive halving, and return them.

    Raises:
        ValueError: Every trial failed; the message has the reason of the first.
        Interrupted: A signal was received; a checkpoint was written.
    """
    args = plan.args
    trials = [
        Trial(first + at, dict(parameters), (), "", plan.fault(first + at, parameters))
        for at, parameters in enumerate(proposed)
    ]
    alive = [at for at, trial in enumerate(trials) if not trial.reason]
    for rung in range(args.rungs):
        chosen = [plan.options(trials[at].number, trials[at].parameters, rung, s) for at in alive for s in range(args.seeds)]
        results = share(chosen)
        for at in alive:
            found = [next(results) for _ in range(args.seeds)]
            advance(args.seeds)
            value = statistics.fmean(each.value for each in found)
            reason = next((each.reason for each in found if each.reason), "")
            trials[at] = trials[at]._replace(values=(*trials[at].values, value), unit=found[0].unit, reason=reason)
        ranked = sorted((at for at in alive if not trials[at].reason), key=lambda at: (trials[at].values[-1], at))
        alive = ranked[: _promoted(len(alive), args.reduction)]
    if all(trial.reason for trial in trials):
        raise ValueError(f"every trial of a batch failed, trial {first} because {trials[0].reason}; give other ranges to vary")
    unit = next(trial.unit for trial in trials if trial.unit)
    return [trial._replace(unit=unit) for trial in trials]


def _proposed(plan: _Plan, finished: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the parameters of the next batch: a function of the seed and of the finished trials, optuna's, alone."""
    optuna = need("optuna", "tune")
    seed = int(np.random.SeedSequence([plan.args.seed, len(finished)]).generate_state(1)[0])
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.add_trials(finished)
    return [study.ask(plan.space).params for _ in range(plan.args.batch)]


def _study(journal: Path, plan: _Plan) -> Any:
    """Return the study of a journal, a new one if the file does not exist.

    The folder of the journal must be locked: an incomplete last line, and the lock of a process that died, are removed.

    Raises:
        ValueError: The file is not a journal, or the journal of another study; the message names the first difference.
    """
    optuna = need("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lock = journal.with_name(f"{journal.name}.lock")
    lock.unlink(missing_ok=True)
    _without_rest(journal)
    files = optuna.storages.journal
    try:
        # creating a file exclusively works on all local file systems, and on NFS from version 3 on
        storage = optuna.storages.JournalStorage(
            files.JournalFileBackend(str(journal), lock_obj=files.JournalFileOpenLock(str(journal)))
        )
        try:
            study = optuna.load_study(study_name=_STUDY, storage=storage)
        except KeyError:  # a new journal
            study = optuna.create_study(study_name=_STUDY, storage=storage)
        known, wanted = study.user_attrs.get("definition"), json.loads(json.dumps(plan.definition()))
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"cannot read {journal}: it is not the journal of a study ({error})") from None
    if known is None:
        study.set_user_attr("definition", wanted)
    for name, value in wanted.items():
        if known is not None and known.get(name) != value:
            was, now = json.dumps(known.get(name)), json.dumps(value)
            raise ValueError(f"cannot continue {journal}: {name} must be {was} as in the study, got {now}; give another --out")
    return study


def _without_rest(journal: Path) -> None:
    """Remove from a journal a last line that a process which died did not finish."""
    if journal.is_file():
        with journal.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def _for_journal(plan: _Plan, trial: Trial) -> Any:
    """Return a trial as optuna keeps it: pruned unless it was trained with the whole budget and did not fail."""
    optuna = need("optuna", "tune")
    done = trial.finished(plan.args.rungs)
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.PRUNED,
        value=trial.values[-1] if done else None,
        params=trial.parameters,
        distributions=dict(plan.space),
        intermediate_values=dict(enumerate(trial.values or (math.inf,))),
        user_attrs={"values": list(trial.values), "unit": trial.unit, "reason": trial.reason},
    )


def _from_journal(found: Any) -> Trial:
    """Return a trial of a journal."""
    attributes = found.user_attrs
    return Trial(found.number, found.params, tuple(attributes["values"]), attributes["unit"], attributes["reason"])


class _Judged(NamedTuple):
    """What every worker gets."""

    algorithm: str
    problem: Any
    episodes: int


class _Result(NamedTuple):
    """What a training reached."""

    value: float
    unit: str = ""
    reason: str = ""


def _judging(judged: _Judged) -> Callable[[Any], _Result]:
    """Return the function of a training: it trains a policy, or finds it, and judges it."""
    algorithm = ALGORITHMS[judged.algorithm]

    def judge_training(options: Any) -> _Result:
        try:
            policy = _trained(algorithm, options, judged.problem)
        except Diverged as error:
            return _Result(math.inf, reason=str(error))
        return _Result(*validation_gap(policy, judged.problem, judged.episodes))

    return judge_training


def _trained(algorithm: Algorithm, options: Any, problem: Any) -> NetworkPolicy:
    """Return the policy of a training: read if it is there, else trained, from its newest checkpoint if there is one."""
    folder = Path(options.out)
    if policy_files(folder)[0].exists():
        with suppress(ValueError):  # a damaged one is trained again
            return READERS.get(type(problem), load_trained)(folder)
    begun = bool(checkpoint_files(folder / FOLDER))
    policy = algorithm.train(replace(options, resume=begun, overwrite=True))
    shutil.rmtree(folder / FOLDER, ignore_errors=True)  # with a replay buffer a checkpoint is large
    return policy


def _tuned(plan: _Plan, trials: Sequence[Trial]) -> Tuned:
    """Return the result of a study."""
    args = plan.args
    finished = [trial for trial in trials if trial.finished(args.rungs)]
    if not finished:
        raise ValueError(f"no trial of {len(trials)} was trained with the whole budget without failing; pass more --trials")
    best = min(finished, key=lambda trial: (trial.values[-1], trial.number))
    out = str(args.folder / "best")
    values = {**plan.fixed, **best.parameters, plan.algorithm.budget: plan.budgets[-1], "seed": args.seeds, "out": out}
    named = args.scenario if isinstance(args.scenario, str) else plan.problem.name
    of_scenario = not isinstance(plan.problem, MarketDistribution)
    train = ["hyperexec", "train", args.algorithm, *(["--scenario", named] if of_scenario else []), *_words(values)]
    judged = ["hyperexec", "evaluate", "--scenario", named, "--policy", "baselines", out, "--seed", "1"]
    return Tuned(
        args.algorithm, plan.problem.name, args.rungs, tuple(trials), shlex.join(train), shlex.join(judged), VALIDATION_SEED
    )


def _words(values: Mapping[str, Any]) -> list[str]:
    """Return options as the words of a command line."""
    found: list[str] = []
    for name, value in values.items():
        dashed = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{dashed}" if value else f"--no-{dashed}")
        else:
            found += [f"--{dashed}={value}"] if str(value).startswith("-") else [f"--{dashed}", str(value)]
    return found
