"""The site of leaderboards: it shows what the bundles hold, escapes what strangers wrote, and describes its data truthfully."""

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hyperexec_env import cli
from hyperexec_env.sharing.runs import make_bundle
from hyperexec_env.sharing.site import make_site
from hyperexec_env.sharing.site_content import posted_boards
from hyperexec_env.sharing.submit import pack_folder

pytestmark = pytest.mark.usefixtures("without_numba")

EVIL = "<img src=x onerror=alert(1)>\"'&"
FORMULA = "=cmd|'/c calc'!A0"
GIVEN = {"name": "Boards <b>", "licence": "CC-BY-4.0", "date": "2026-11-30"}
CODE = "def decide(p, s): return s.remaining / (s.market.slices - s.k)\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle of a policy whose authors are hostile."""
    place = tmp_path_factory.mktemp("boards")
    own = tmp_path_factory.mktemp("own")
    (own / "policy.py").write_text(CODE)
    given = {"name": EVIL, "authors": (FORMULA, "</script>"), "method": "<script>alert(1)</script>", "licence": "\n" + EVIL}
    pack_folder(own, own / "evil.zip", {**given, "training_seed": 3, "description": "javascript:alert(1)"})
    content, _ = make_bundle(own / "evil.zip", "almgren-chriss", policies="TWAP", episodes=20, trust_code=True)
    (place / "a b'.zip").write_bytes(content)
    return place


@pytest.fixture(scope="module")
def site(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "site"
    make_site(folder, out, **GIVEN)
    return out


class Page(html.parser.HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.links = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert not [name for name, _ in attributes if name.startswith("on")]
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]

    def handle_data(self, data):
        self.texts.append(data)


def pages(site):
    return [*site.glob("*.html"), *site.glob("scenario/*.html")]


def test_the_same_folder_has_the_same_bytes(folder, site, tmp_path):
    written = make_site(folder, tmp_path, **GIVEN)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == set(written.files)
    assert files == {name: (site / name).read_bytes() for name in files}


def test_what_strangers_wrote_is_text_and_nothing_is_loaded_from_elsewhere(site):
    for path in pages(site):
        page = Page(path)
        assert page.tags.count("script") == (path.name == "index.html")
        assert "img" not in page.tags
        assert not [link for link in page.links if re.match(r"[a-z]+:|//", link)], page.links
        assert all((path.parent / link).exists() for link in page.links)
        assert "default-src 'none'" in path.read_text(encoding="utf-8")
    assert f"{EVIL} (seed 3)" in Page(site / "index.html").texts


def test_the_page_names_the_hash_of_its_script(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in text


def test_every_row_and_what_to_know_of_it_is_in_the_table(site):
    texts = Page(site / "index.html").texts
    for said in ("TWAP", "optimum", "unverified", "1 training seed", "20 episodes", "code"):
        assert said in texts, said


def test_one_training_under_several_seeds_counts_as_one(folder):
    (posted,) = posted_boards(folder)
    row = next(row for row in posted.board.rows if row.training_seed == 3)
    rows = (row, replace(row, training_seed=4), replace(row, training_seed=5, objective_bps=row.objective_bps + 1.0))
    assert replace(posted, board=replace(posted.board, rows=rows)).seeds(row) == 2


def test_the_table_of_rows_holds_the_numbers_of_the_board(site):
    rows = list(csv.DictReader(io.StringIO((site / "data" / "rows.csv").read_text(encoding="utf-8"))))
    (board,) = [json.loads(path.read_text()) for path in site.glob("data/*.json")]
    assert [float(row["objective_bps"]) for row in rows] == [row["objective_bps"] for row in board["rows"]]
    assert {row["authors"] for row in rows} == {"", f"'{FORMULA}, </script>"}


def test_the_table_of_episodes_holds_every_episode(site, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `data`")
    (file,) = site.glob("data/*.parquet")
    plain = parquet.read_table(file).to_pydict()
    (board,) = [json.loads(path.read_text()) for path in site.glob("data/*.json")]
    assert len(plain["objective"]) == 20 * len(board["rows"])
    for row in board["rows"]:
        own = [x for x, name in zip(plain["objective"], plain["policy"], strict=True) if name == row["policy"]]
        assert sum(own) / 20 == pytest.approx(row["objective_bps"])


def test_croissant_describes_files_and_columns_that_exist(site):
    plain = json.loads((site / "croissant.json").read_text())
    assert plain["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    files = {item["@id"]: item for item in plain["distribution"]}
    for name, item in files.items():
        content = (site / name).read_bytes()
        assert (item["sha256"], item["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    identities = [item["@id"] for item in (*plain["distribution"], *plain["recordSet"])]
    for records in plain["recordSet"]:
        identities += [field["@id"] for field in records["field"]]
        (source,) = {field["source"]["fileObject"]["@id"] for field in records["field"]}
        columns = [field["source"]["extract"]["column"] for field in records["field"]]
        if source.endswith(".csv"):
            assert columns == (site / source).read_text(encoding="utf-8").split("\n")[0].split(",")
    assert len(set(identities)) == len(identities)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib and pandas, below mlcroissant
def test_mlcroissant_loads_the_data_set(site):
    croissant = pytest.importorskip("mlcroissant", reason="needs mlcroissant, which no extra installs")
    loaded = croissant.Dataset(jsonld=str(site / "croissant.json"))
    assert not loaded.metadata.ctx.issues.errors
    assert not loaded.metadata.ctx.issues.warnings
    for records in loaded.metadata.record_sets:
        assert len(list(loaded.records(record_set=records.uuid))) in (3, 60)


def test_a_verdict_counts_for_its_own_bundle_only(folder, tmp_path):
    (file,) = folder.glob("*.zip")
    copy = tmp_path / "boards" / "x.zip"
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    verdict = Path(f"{copy}.verdict.json")
    assert cli.main(["verify", str(copy), "--trust-code", "--json", str(verdict)]) == 0
    assert make_site(copy.parent, tmp_path / "a", **GIVEN).unverified == 0
    assert "verified" in Page(tmp_path / "a" / "index.html").texts
    verdict.write_text(verdict.read_text().replace(json.loads(verdict.read_text())["sha256"], "0" * 64))
    assert make_site(copy.parent, tmp_path / "b", **GIVEN).unverified == 1
    verdict.write_text("NaN")
    with pytest.raises(ValueError, match="is not JSON"):
        make_site(copy.parent, tmp_path / "c", **GIVEN)


def test_a_folder_without_an_intact_bundle_is_one_clear_error(folder, tmp_path, capsys):
    (file,) = folder.glob("*.zip")
    (tmp_path / "twice").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for name in ("a.zip", "b.zip"):
        (tmp_path / "twice" / name).write_bytes(file.read_bytes())
    (tmp_path / "bad" / "x.zip").write_bytes(file.read_bytes()[:-9])
    for name, message in (
        ("none", "there is no folder"),
        ("empty", "holds no bundle"),
        ("twice", "are the same bundle"),
        ("bad", "damaged"),
    ):
        assert cli.main(["site", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
