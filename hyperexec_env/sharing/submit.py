"""Pack the folder of a policy into a submission, after trying the policy."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hyperexec_env.baselines.evaluate import check_own_name
from hyperexec_env.checks import one_line
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy
from hyperexec_env.evaluation.foreign import ForeignPolicy
from hyperexec_env.evaluation.policy import check_policy
from hyperexec_env.evaluation.submission import Submission, pack_submission, read_folder
from hyperexec_env.files import check_target, write_atomically
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.scenarios import AnyScenario
from hyperexec_env.market.tables import build_market

__all__ = ["Packed", "file_safe", "pack_folder"]

_SCENARIO: Final = "regime-day"
"""Scenario of the trial of a policy of one asset."""
_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class Packed:
    """A submission that was written."""

    file: str
    sha256: str
    """Hash of the file."""
    kind: str
    observes: str
    card: dict[str, Any]
    scenario: str
    """Name of the scenario of the trial."""

    @property
    def text(self) -> str:
        """The report."""
        card = self.card
        seed = "" if card["training_seed"] is None else f", training seed {card['training_seed']}"
        code = "\nthe policy is Python code: whoever evaluates it runs it, and must pass --trust-code" * (self.kind == "code")
        return (
            f"packed {card['name']}{seed} ({self.kind}) into {self.file}\nsha256 {self.sha256}\n"
            f"authors: {', '.join(card['authors'])}; licence: {card['licence']}; observes {self.observes}{code}\n"
            f"judge it: hyperexec bundle {self.file} --scenario {self.scenario} --out board.bundle.zip"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def pack_folder(
    folder: str | os.PathLike[str], out: str | os.PathLike[str] = "", given: Mapping[str, Any] | None = None
) -> Packed:
    """Write the submission of a folder.

    Args:
        folder: Folder of the policy and its card.
        out: The file; "": NAME.submission.zip in the current folder.
        given: Fields that replace those of the card.

    Raises:
        ValueError: The folder or the card is invalid, the policy does not trade, or the file cannot be written.
        MissingExtra: The policy needs a package that is not installed.
    """
    submission = check_own_name(read_folder(folder, given))
    seed = submission.card.training_seed
    default = f"{file_safe(submission.card.name)}{'' if seed is None else f'-{seed}'}.submission.zip"
    target = Path(out or default)
    check_target(target)
    scenario = _trial(submission)
    _try(submission, scenario)
    content = pack_submission(submission)
    write_atomically(target, content)
    card = submission.card.to_dict()
    return Packed(str(target), hashlib.sha256(content).hexdigest(), submission.kind, submission.observes, card, scenario.name)


def file_safe(name: str) -> str:
    """Return a name as a part of a file name: letters, digits and `._-` only, all others replaced by "-"."""
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
    return plain.strip("-.")[:80] or "policy"


def _trial(submission: Submission) -> AnyScenario:
    """Return the scenario of the trial: of the policy of a basket the basket of its training.

    Raises:
        ValueError: The description of a policy of a basket does not state its basket.
    """
    if not isinstance(submission.policy, BasketNetworkPolicy):
        return get_scenario(_SCENARIO)
    if submission.policy.basket is None:
        raise ValueError("policy.json must state the basket of the training, about.scenario, got none")
    return submission.policy.basket


def _try(submission: Submission, scenario: AnyScenario) -> None:
    """Let a policy trade the first slice of three episodes.

    Raises:
        ValueError: The policy fails.
    """
    policy = submission.entrant(trust_code=True).policy  # the author packs the author's own code
    try:
        market = build_basket(scenario) if isinstance(scenario, BasketScenario) else build_market(scenario)
        check_policy(policy, market, _TIMEOUT)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the policy does not trade: {one_line(str(error))}") from None
    finally:
        if isinstance(policy, ForeignPolicy):
            policy.close()
