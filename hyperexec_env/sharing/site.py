"""Make a static site of leaderboards from a folder of bundles: pages, data set, croissant.json and datasheet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperexec_env.checks import check_label
from hyperexec_env.evaluation.archive import to_json
from hyperexec_env.files import make_folder, read_regular, write_atomically
from hyperexec_env.sharing.croissant import croissant
from hyperexec_env.sharing.datasheet import datasheet_page
from hyperexec_env.sharing.site_content import Posted, posted_boards, scenarios_of
from hyperexec_env.sharing.site_pages import index_page, scenario_page
from hyperexec_env.sharing.submit import file_safe
from hyperexec_env.sharing.tables import Table, episodes_table, rows_table

__all__ = ["Site", "make_site"]


@dataclass(frozen=True)
class Site:
    """A site that was written."""

    folder: str
    scenarios: int
    boards: int
    rows: int
    unverified: int
    """Number of boards that were not verified to the byte."""
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.__dict__, "files": list(self.files)}

    def __str__(self) -> str:
        """Return the report."""
        note = (
            f", {self.unverified} not verified (hyperexec verify BUNDLE --json BUNDLE.verdict.json)" if self.unverified else ""
        )
        return f"{self.boards} boards of {self.scenarios} scenarios, {self.rows} rows{note}\nopen {self.folder}/index.html"


def make_site(folder: str | os.PathLike[str], out: str | os.PathLike[str], *, name: str, licence: str, date: str) -> Site:
    """Write a site; the same folder and arguments yield the same bytes.

    Args:
        folder: Folder of bundles (`*.zip`), each with its verdict (`BUNDLE.verdict.json`) if it has one.
        out: Folder of the site, created if it is missing.
        name: Name of the site.
        licence: Licence of the results.
        date: Date of the publication, YYYY-MM-DD.

    Raises:
        ValueError: The folder holds no bundle, a bundle is damaged, or a file cannot be written.
    """
    for key, value in (("name", name), ("licence", licence), ("date", date)):
        if not check_label(key, value):
            raise ValueError(f"{key} must not be empty")
    posted = posted_boards(folder)
    target = make_folder(out)
    data, tables, links = _data(Path(folder), posted)
    pages = {
        f"scenario/{page}": scenario_page(boards, [links[each.slug] for each in boards])
        for page, boards in scenarios_of(posted).items()
    }
    about = (
        f"Results of {len(posted)} leaderboards of policies for optimal execution: every row, and every episode of every row."
    )
    files: dict[str, bytes] = {
        **data,
        **{path: page.encode() for path, page in pages.items()},
        "croissant.json": to_json(croissant(name, about, licence, date, tables, data)),
        "datasheet.html": datasheet_page(name, posted, licence, date).encode(),
        "index.html": index_page(name, posted, [path for path in data if path.startswith("data/rows")]).encode(),
    }
    for path, content in files.items():
        make_folder((target / path).parent)
        write_atomically(target / path, content)
    rows = sum(len(each.board.rows) for each in posted)
    unverified = sum(each.state != "verified" for each in posted)
    return Site(str(out), len(pages), len(posted), rows, unverified, tuple(files))


def _data(folder: Path, posted: list[Posted]) -> tuple[dict[str, bytes], list[tuple[Table, str]], dict[str, list[str]]]:
    """Return the data files by path, the tables with the paths of their files, and the paths that belong to each board."""
    files: dict[str, bytes] = {}
    tables: list[tuple[Table, str]] = []
    links: dict[str, list[str]] = {}
    overview = rows_table(posted)
    files["data/rows.csv"] = overview.csv()
    tables.append((overview, "data/rows.csv"))
    for each in posted:
        table = episodes_table(each)
        path, content = table.file()
        copy = f"bundles/{file_safe(each.file.removesuffix('.zip'))}-{each.bundle.sha256[:8]}.zip"
        files |= {path: content, f"data/{each.slug}.json": each.bundle.files[f"boards/{each.number:02d}/board.json"]}
        files[copy] = read_regular(folder / each.file, 2**29)
        tables.append((table, path))
        links[each.slug] = [path, f"data/{each.slug}.json", copy]
    return files, tables, links
