"""The command ``hyperexec``: where the packages meet. Nothing imports this module; it imports everything, when it is needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from hyperexec_env import __version__
from hyperexec_env.arguments import Parser, add_arguments, parse
from hyperexec_env.extras import MissingExtra

__all__ = ["main"]

COMMANDS = {
    ("leaderboard",): ("hyperexec_env.training.leaderboard", "evaluate the baselines, train a policy, write the board"),
    ("evaluate",): ("hyperexec_env.baselines.evaluate", "judge policies on one scenario"),
    ("train", "ppo"): ("hyperexec_env.training.ppo", "train a policy by PPO"),
    ("train", "pathwise"): ("hyperexec_env.training.pathwise", "train a policy by the gradient of whole episodes"),
    ("train", "sac"): ("hyperexec_env.training.sac", "train a policy by SAC"),
    ("train", "dqn"): ("hyperexec_env.training.dqn", "train a policy by DQN (discrete pace)"),
    ("export",): ("hyperexec_env.training.export", "turn a stable-baselines3 model of your own into a policy without pickles"),
    ("scenarios",): ("hyperexec_env.baselines.scenarios", "list the scenarios"),
    ("solve",): ("hyperexec_env.baselines.solve", "find the exact optimum of a scenario"),
    ("card",): ("hyperexec_env.baselines.card", "print a scenario with its units"),
    ("certify",): ("hyperexec_env.baselines.certify", "try whether the market of a scenario can be made to pay"),
    ("estimate",): ("hyperexec_env.baselines.estimate", "estimate the cost of an order before it trades"),
    ("calibrate",): ("hyperexec_env.baselines.calibrate", "make a scenario from bars of a real market"),
    ("tca",): ("hyperexec_env.baselines.tca", "report on a desk's own fills against a real market"),
    ("stealth",): ("hyperexec_env.baselines.stealth", "measure what order hiding is worth"),
    ("bench",): ("hyperexec_env.training.bench", "measure the speed: of environments, of the agent, of a training"),
}
"""Words of a command -> module with `Args` and `main(args)`, and what it does."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 for a failure, 2 for bad input, 130 for an interruption."""
    words = list(sys.argv[1:] if words is None else words)
    key = next((key for key in COMMANDS if tuple(words[: len(key)]) == key), None)
    if key is None:
        return _explain(words)
    try:
        script = importlib.import_module(COMMANDS[key][0])
        parser = Parser(prog=f"hyperexec {' '.join(key)}", description=script.__doc__, allow_abbrev=False)
        add_arguments(parser, script.Args)
        script.main(parse(script.Args, parser.parse_args(words[len(key) :])))
    except MissingExtra as error:
        return _fail(str(error))
    except (ValueError, FileNotFoundError, IsADirectoryError, PermissionError) as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"not enough memory: {error}")
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def _explain(words: list[str]) -> int:
    """Answer words that are no command: help, the version, or what is wrong with them."""
    parser = Parser(prog="hyperexec", description="Optimal execution: environment, baselines, training, leaderboard.")
    parser.add_argument("--version", action="version", version=f"hyperexec {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for key, (_, meaning) in COMMANDS.items():
        commands.add_parser(" ".join(key), help=meaning, add_help=False)
    parser.parse_args([" ".join(words[:2])] if words[:1] == ["train"] and len(words) > 1 else words)
    return 0


def _fail(message: str) -> int:
    """Say on one line what is wrong with the input."""
    print(f"hyperexec: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
