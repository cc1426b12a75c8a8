"""Submissions: one policy and its card in one file, for the boards of others.

A folder holds `card.toml` and one policy: a network (`policy.json` and `policy.safetensors`), an ONNX graph (`policy.onnx`) or
Python code (`policy.py`). Networks are evaluated with numpy, graphs and code in a child process
(:mod:`~hyperexec_env.evaluation.foreign`); code only if the caller says that it may run. Nothing is ever unpickled.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from hyperexec_env.checks import check_choice, check_flag, check_integer, check_label, nearest, one_line, shown
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.envs.features import observation_names
from hyperexec_env.evaluation.archive import Archive, pack, parse_json, to_json, unpack
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy, parse_any_policy
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.foreign import ForeignPolicy
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.files import read_regular
from hyperexec_env.market.basket_scenario import BASKETS
from hyperexec_env.version import __version__

__all__ = [
    *("CARD", "KINDS", "Card", "Submission", "archive_files", "is_submission", "load_submission", "pack_submission"),
    *("read_folder", "submission_of"),
]

CARD: Final = "card.toml"
KINDS: Final = {
    "network": ("policy.json", "policy.safetensors"),
    "onnx": ("policy.onnx",),
    "code": ("policy.py",),
}
"""Kinds of policies, and the files of each."""
_LARGEST: Final = {"policy.safetensors": 2**27, "policy.onnx": 2**27, "policy.json": 2**20, "policy.py": 2**20}
_LARGEST_CARD: Final = 2**16
_LONGEST: Final = 2000
"""Largest number of characters of a text of the card."""
_MOST: Final = 50
"""Largest number of authors, or of scenarios of the training."""


@dataclass(frozen=True)
class Card:
    """What the authors of a policy say about it.

    Raises:
        ValueError: A field is missing or invalid; the message names it.
    """

    name: str
    """Name on the board; policies that differ only by the training seed have one name."""
    authors: tuple[str, ...]
    method: str
    """How the policy was made, in a sentence: the algorithm and its library, or the rule and its source."""
    licence: str
    """Licence of the submission, an SPDX identifier if there is one."""
    training_scenarios: tuple[str, ...] = ()
    """Scenarios of the training; none for a policy that was not trained."""
    training_seed: int | None = None
    """Seed of the training; None for a policy that was not trained."""
    training_budget: str = ""
    """Budget of the training, with its unit ("2,000,000 slices")."""
    action_mode: str = "pace"
    """Action mode of a network or a graph."""
    observe_regime: bool = True
    """Whether the policy observes the regime."""
    description: str = ""

    def __post_init__(self) -> None:
        """Check every field."""
        if not check_label("name", self.name):
            raise ValueError("name must be printable text, got an empty one")
        for key in ("method", "licence", "training_budget", "description"):
            _check_text(key, getattr(self, key), required=key in ("method", "licence"))
        for key in ("authors", "training_scenarios"):
            object.__setattr__(self, key, _checked_texts(key, getattr(self, key), required=key == "authors"))
        if self.training_seed is not None:
            check_integer("training_seed", self.training_seed, low=0, high=2**63 - 1)
            if type(self.training_seed) is not int:
                raise ValueError(f"training_seed must be a whole number, got {shown(self.training_seed)}")
        check_choice("action_mode", self.action_mode, ACTION_MODES)
        check_flag("observe_regime", self.observe_regime)

    @classmethod
    def from_dict(cls, values: Any, what: str) -> Card:
        """Return the card with the given fields.

        Args:
            values: The fields, of JSON types.
            what: Name of the card, for messages.

        Raises:
            ValueError: A field is unknown, missing or invalid.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{what} must be an object, got {shown(values)}")
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(f"{what}: unknown field {shown(key)}{nearest(key, known)}")
        for key in known[:4]:
            if key not in values:
                raise ValueError(f"{what}: the field {key} is missing")
        try:
            given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
            return cls(**given)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{what}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, of JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def _check_text(key: str, value: Any, required: bool) -> None:
    if not isinstance(value, str) or not value.replace("\n", " ").isprintable() or len(value) > _LONGEST:
        raise ValueError(f"{key} must be printable text of at most {_LONGEST} characters, got {shown(value)}")
    if required and not value.strip():
        raise ValueError(f"{key} must not be empty")


def _checked_texts(key: str, values: Any, required: bool) -> tuple[str, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > _MOST or (required and not values):
        raise ValueError(f"{key} must be a list of {int(required)} to {_MOST} texts, got {shown(values)}")
    for value in values:
        if not check_label(key, value):
            raise ValueError(f"{key} must not hold an empty text")
    return tuple(values)


class Submission(NamedTuple):
    """A policy and its card."""

    card: Card
    kind: str
    """One of the :data:`KINDS`."""
    files: dict[str, bytes]
    """Files of the policy, by name."""
    policy: NetworkPolicy | None
    """The network; None for other kinds."""

    @property
    def of_basket(self) -> bool:
        """Whether the policy trades a basket: a network that was trained on one."""
        return isinstance(self.policy, BasketNetworkPolicy)

    @property
    def observes(self) -> str:
        """What the policy observes, in words."""
        regime = "the regime is observed" if self.card.observe_regime else "the regime is hidden"
        if self.kind == "code":
            return f"the whole situation of the trader (Python code); {regime}"
        environment, features = BASKETS.environment if self.of_basket else "HyperExec-v0", observation_names()
        return f"the {len(features if self.policy is None else self.policy.names)} features of {environment}; {regime}"

    def entrant(self, trust_code: bool = False) -> Entrant:
        """Return the entrant of the policy.

        Raises:
            ValueError: The policy is code, and `trust_code` is False.
        """
        card, hidden = self.card, not self.card.observe_regime
        if self.policy is not None:
            return Entrant(self.policy, card.training_seed, hidden)
        (content,) = self.files.values()
        settings: dict[str, Any] = {"kind": self.kind}
        if self.kind == "onnx":
            settings |= {"action_mode": card.action_mode, "observe_regime": card.observe_regime}
        elif not trust_code:
            raise ValueError(
                f"the policy {card.name!r} is Python code, which is not run: code can read your files and use your network; "
                "read policy.py, then pass --trust-code"
            )
        return Entrant(ForeignPolicy(card.name, content, **settings), card.training_seed, hidden)


def read_folder(
    folder: str | os.PathLike[str], given: Mapping[str, Any] | None = None, usual: Mapping[str, Any] | None = None
) -> Submission:
    """Return the submission of a folder. What the card does not say is taken from the description of a trained network.

    Args:
        folder: Folder with one policy, and `card.toml` unless every required field is given.
        given: Fields that replace those of the card.
        usual: Fields where neither the card nor the description of the network states them.

    Raises:
        ValueError: The folder holds no policy or several, or a field of the card is missing or invalid.
        MissingExtra: The policy is a network, and safetensors is not installed.
    """
    place = Path(folder)
    kinds = [kind for kind, names in KINDS.items() if any((place / name).exists() for name in names)]
    if len(kinds) != 1:
        listed = "policy.json with policy.safetensors, policy.onnx or policy.py"
        raise ValueError(f"{place} must hold one policy ({listed}), got {' and '.join(kinds) or 'none'}")
    (kind,) = kinds
    content = {name: read_regular(place / name, _LARGEST[name]) for name in KINDS[kind]}
    values = _card_values(place / CARD) if (place / CARD).exists() else {}
    if kind == "network":
        values = {**_known(parse_any_policy(*content.values())), **values}
    card = Card.from_dict({**(usual or {}), **values, **(given or {})}, str(place / CARD))
    return submission_of({**content, "card.json": to_json(card.to_dict())})


def _card_values(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_regular(path, _LARGEST_CARD, "the card").decode())
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError, or a file that cannot be read
        raise ValueError(f"{path}: {one_line(str(error))}") from None


def _known(policy: NetworkPolicy) -> dict[str, Any]:
    """Return the fields of a card that the description of a trained network holds."""
    about = policy.about
    args, versions = about.get("args"), about.get("versions")
    scenario = args.get("scenario") if isinstance(args, dict) else None
    found: dict[str, Any] = {"name": policy.name, "training_seed": policy.training_seed, "action_mode": policy.action_mode}
    found["observe_regime"] = policy.observe_regime
    if isinstance(about.get("algorithm"), str):
        library = [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, dict) else []
        found["method"] = ", ".join([str(about["algorithm"]).upper(), *library])
    if isinstance(scenario, str):
        found["training_scenarios"] = (scenario,)
    if isinstance(about.get("timesteps"), int):
        found["training_budget"] = f"{about['timesteps']:,} slices"
    return found


def submission_of(files: Mapping[str, bytes]) -> Submission:
    """Return the submission of the files of an archive: `card.json` and the files of one policy.

    Raises:
        ValueError: The files are not those of one policy, or the card or the policy is invalid.
        MissingExtra: The policy is a network, and safetensors is not installed.
    """
    content = dict(files)
    if "card.json" not in content:
        raise ValueError("the submission holds no card.json")
    card = Card.from_dict(parse_json(content.pop("card.json"), "card.json"), "card.json")
    kind = next((kind for kind, names in KINDS.items() if set(names) == set(content)), None)
    if kind is None:
        raise ValueError(f"the submission must hold the files of one policy, got {shown(sorted(content))}")
    for name, data in content.items():
        if len(data) > _LARGEST[name]:
            raise ValueError(f"{name} must have at most {_LARGEST[name]:,} bytes, got {len(data):,}")
    ordered = {name: content[name] for name in KINDS[kind]}
    return Submission(card, kind, ordered, _network(card, ordered) if kind == "network" else None)


def _network(card: Card, content: Mapping[str, bytes]) -> NetworkPolicy:
    """Return the network of a submission under the name and the seed of its card."""
    policy = parse_any_policy(*content.values())
    for key in ("action_mode", "observe_regime"):
        if getattr(card, key) != getattr(policy, key):
            raise ValueError(f"{key} of the card must be that of policy.json, {getattr(policy, key)}, got {getattr(card, key)}")
    return replace(policy, name=card.name, training_seed=card.training_seed or 0)


def archive_files(submission: Submission) -> dict[str, bytes]:
    """Return the files of a submission by their names in an archive."""
    return {**submission.files, "card.json": to_json(submission.card.to_dict())}


def pack_submission(submission: Submission) -> bytes:
    """Return the archive of a submission; equal submissions yield equal bytes."""
    return pack("submission", {"hyperexec_env": __version__}, archive_files(submission))


def load_submission(path: str | os.PathLike[str]) -> Submission:
    """Read a submission; its policy is not run.

    Raises:
        ValueError: The file is not an intact submission.
        MissingExtra: The policy is a network, and safetensors is not installed.
    """
    archive: Archive = unpack(path, ("submission",))
    try:
        return submission_of(archive.files)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def is_submission(path: str | os.PathLike[str]) -> bool:
    """Return whether a file begins as a submission does: a zip archive whose first file is the card."""
    try:
        with open(path, "rb") as file:
            head = file.read(39)
    except OSError:
        return False
    return head[:4] == b"PK\x03\x04" and head[30:39] == b"card.json"
