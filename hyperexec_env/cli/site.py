"""Make web pages of a folder of bundles: a sortable leaderboard, a page for each scenario, the data set and its datasheet.

FOLDER holds bundles (`*.zip`, from `hyperexec bundle`). A bundle counts as verified if the verdict of `hyperexec verify BUNDLE
--json BUNDLE.verdict.json` lies beside it. The pages load nothing from elsewhere, and need no server.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.sharing.site import Site, make_site

ORDER = 7.4


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec site``."""

    folder: str = option(meaning="folder of bundles", positional=True)
    out: str = option("site", "folder of the pages", file="folder")
    name: str = option("HyperExec leaderboard", "name of the site and of its data set")
    licence: str = option("CC-BY-4.0", "licence of the results, an SPDX identifier or an address")
    date: str = option("", "date of the publication, YYYY-MM-DD (default: today)")


def main(args: Args) -> Site:
    """Write the site."""
    date = args.date or datetime.datetime.now(datetime.UTC).date().isoformat()
    return make_site(args.folder, args.out, name=args.name, licence=args.licence, date=date)
