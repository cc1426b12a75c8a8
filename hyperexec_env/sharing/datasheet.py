"""The datasheet of a site: the questions of Gebru et al. (2021, Datasheets for Datasets), answered from what the site holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hyperexec_env.checks import printable
from hyperexec_env.evaluation.page import document
from hyperexec_env.market.provenance import described_sources
from hyperexec_env.sharing.site_content import Posted
from hyperexec_env.sharing.site_pages import safe_head, text

__all__ = ["Answer", "answers", "datasheet_page"]


class Answer(NamedTuple):
    """A question of the datasheet and its answer."""

    part: str
    question: str
    answer: str


def datasheet_page(name: str, posted: Sequence[Posted], licence: str, date: str) -> str:
    """Return the page of the datasheet."""
    parts: dict[str, str] = {}
    for part, question, answer in answers(posted, licence, date):
        parts[part] = parts.get(part, "") + f"<h3>{text(question)}</h3><p>{text(answer)}</p>"
    body = "".join(f"<h2>{text(part)}</h2>{content}" for part, content in parts.items())
    intro = "<p>Questions of Gebru et al. (2021), <i>Datasheets for Datasets</i>, answered by the program from the data.</p>"
    return document(f"Datasheet: {printable(name)}", f'<p><a href="index.html">the boards</a></p>{intro}{body}', safe_head())


def answers(posted: Sequence[Posted], licence: str, date: str) -> list[Answer]:
    """Return the answers of the datasheet."""
    return [*_motivation(posted), *_composition(posted), *_collection(posted), *_use(posted, licence, date)]


def _motivation(posted: Sequence[Posted]) -> list[Answer]:
    part = "Motivation"
    return [
        Answer(
            part,
            "For what purpose was the dataset created?",
            "To compare policies for the execution of a large order on equal terms.",
        ),
        Answer(
            part,
            "Who created the dataset, and who funded it?",
            f"The person who ran `hyperexec site`; the policies come from: {_authors(posted)}. Funding is not known to "
            f"the program.",
        ),
    ]


def _authors(posted: Sequence[Posted]) -> str:
    named = {author for each in posted for policy in each.bundle.policies.values() for author in policy.card.authors}
    return ", ".join(["the authors of HyperExec (classical policies)", *sorted(named)])


def _composition(posted: Sequence[Posted]) -> list[Answer]:
    part, rows = "Composition", sum(len(each.board.rows) for each in posted)
    instances = sum(len(each.board.rows) * each.board.plan.episodes for each in posted)
    scenarios = sorted({(each.board.plan.scenario.name, each.board.plan.scenario.hash) for each in posted})
    failed = [f"{failure.label} on {each.board.plan.scenario.name}" for each in posted for failure in each.board.failed]
    sources = sorted({f"{each.board.plan.scenario.name}: {described_sources(each.board.plan.scenario)}" for each in posted})
    return [
        Answer(
            part,
            "What do the instances represent?",
            "One episode of one policy: the costs of one simulated parent order, in bps of its arrival notional. No "
            "instance is a "
            "trade of a real market.",
        ),
        Answer(
            part,
            "How many instances are there?",
            f"{instances:,} episodes in {rows:,} rows of {len(posted)} boards on {len(scenarios)} scenarios: "
            f"{', '.join(f'{name} ({digest})' for name, digest in scenarios)}.",
        ),
        Answer(
            part,
            "Is it a sample of a larger set?",
            "Yes: the episodes of a board are the first ones of its seed, drawn independently from the law of the "
            "scenario. Every "
            "policy of a board meets the same episodes.",
        ),
        Answer(
            part,
            "What data does each instance consist of?",
            "Objective, shortfall, expected cost, risk, parts of the cost, shares that were forced to trade, and the "
            "first regime.",
        ),
        Answer(
            part, "Is there a label or target?", "The objective J; and J*, the computed optimum, where the scenario is solved."
        ),
        Answer(
            part,
            "Is any information missing?",
            f"Policies without results, because they failed: {', '.join(failed) or 'none'}. The paths of prices are not "
            f"stored; their seeds reproduce them.",
        ),
        Answer(
            part,
            "Are relationships between instances explicit?",
            "Yes: equal scenario, seed and episode mean the same market, so differences are paired.",
        ),
        Answer(
            part,
            "Are there recommended data splits?",
            "No: the data are results of tests. Trainings use other episodes than boards by construction.",
        ),
        Answer(
            part,
            "Are there errors, sources of noise, or redundancies?",
            f"Simulation noise, which the intervals state; the numbers of the markets, by source: {'; '.join(sources)}. "
            f"{_states(posted)}",
        ),
        Answer(
            part,
            "Is the dataset self-contained?",
            "Yes: bundles hold scenarios, policies and results. To compute them again needs this program in the versions "
            "that each bundle names.",
        ),
        Answer(
            part,
            "Does it contain confidential or personal data, or relate to people?",
            "The names of authors, as they state them. No other data relate to people.",
        ),
    ]


def _states(posted: Sequence[Posted]) -> str:
    counts: dict[str, int] = {}
    for each in posted:
        counts[each.state] = counts.get(each.state, 0) + 1
    return "Boards: " + ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) + "."


def _collection(posted: Sequence[Posted]) -> list[Answer]:
    part = "Collection, preprocessing"
    versions = sorted(
        {
            f"{each.bundle.versions.get('hyperexec_env', '?')} with numpy {each.bundle.versions.get('numpy', '?')}"
            for each in posted
        }
    )
    kinds = sorted({policy.kind for each in posted for policy in each.bundle.policies.values()}) or ["none"]
    return [
        Answer(part, "How was the data acquired?", f"By simulation with HyperExec {'; '.join(versions)}."),
        Answer(
            part,
            "What mechanisms were used?",
            f"`hyperexec submit`, `bundle` and `verify`. Kinds of submitted policies: {', '.join(kinds)}.",
        ),
        Answer(
            part,
            "Who was involved, and were they paid?",
            "The authors of the policies; compensation is not known to the program.",
        ),
        Answer(
            part,
            "Over what timeframe?",
            "Bundles carry no dates, so that equal runs have equal bytes; results do not depend on the date.",
        ),
        Answer(part, "Were ethical reviews conducted?", "None is known to the program; the data are simulated."),
        Answer(
            part,
            "Was any cleaning or labelling done?",
            "None. Raw results are those of the bundles; tables repeat them in another form.",
        ),
    ]


def _use(posted: Sequence[Posted], licence: str, date: str) -> list[Answer]:
    few = sorted({row.policy for each in posted for row in each.board.rows if 0 < each.seeds(row) < 3})
    licences = sorted({policy.card.licence for each in posted for policy in each.bundle.policies.values()})
    return [
        Answer("Uses", "What has the dataset been used for?", "For this leaderboard."),
        Answer(
            "Uses",
            "What could it be used for?",
            "To compare policies on one scenario, to study the variance of trainings, to check claims of papers.",
        ),
        Answer(
            "Uses",
            "What should it not be used for?",
            "To predict costs of real orders: the markets are models. To rank across scenarios: bps of different markets "
            "do not "
            f"compare. To generalise over trainings where there are few seeds: {', '.join(few) or 'none here'}.",
        ),
        Answer("Distribution", "How and when is it distributed?", f"As static files with croissant.json, on {date}."),
        Answer(
            "Distribution",
            "Under which licence?",
            f"Results: {licence}. Policies in the bundles, as their authors state: {', '.join(licences) or 'none'}.",
        ),
        Answer(
            "Maintenance",
            "Who maintains it, and will it be updated?",
            "The owner of the site; the program builds the site again from a folder of bundles.",
        ),
        Answer(
            "Maintenance",
            "Can others extend it?",
            "Yes: a bundle in the folder is a contribution, and `hyperexec verify` checks it.",
        ),
    ]
