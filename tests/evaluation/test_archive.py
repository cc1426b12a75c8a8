"""Archives: equal content has equal bytes, and nothing is read that the program does not write."""

import io
import json
import stat
import warnings
import zipfile

import pytest

from hyperexec_env.evaluation.archive import MANIFEST, pack, parse_json, unpack

pytestmark = pytest.mark.fast

FILES = {"b/two.bin": bytes(range(256)), "a.json": b"{}\n"}


def entry(name, mode=stat.S_IFREG | 0o644, compressed=zipfile.ZIP_STORED):
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr, info.compress_type = 3, mode << 16, compressed
    return info


def rewritten(change):
    """The bytes of an archive whose entries `change` (name, content) -> [(entry, content), ...] replaces."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(pack("bundle", {}, FILES))) as read, zipfile.ZipFile(target, "w") as file:
        for name in read.namelist():
            for info, content in change(name, read.read(name)):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about a second entry of the same name
                    file.writestr(info, content)
    return target.getvalue()


def manifest_with(**changes):
    def change(name, content):
        if name == MANIFEST:
            content = json.dumps({**json.loads(content), **changes}).encode()
        return [(entry(name), content)]

    return rewritten(change)


def only(wanted, *instead):
    """Replace one entry."""
    return rewritten(lambda name, content: list(instead) if name == wanted else [(entry(name), content)])


WHOLE = pack("bundle", {"x": 1.5}, FILES)
NAMED = "a name in an archive must be"
HOSTILE = {
    "no archive": (b"MZ" + WHOLE[2:], "not an archive of this program"),
    "empty": (b"", "not an archive of this program"),
    "cut off": (WHOLE[:-30], "damaged"),
    "bytes before": (b"PK\x03\x04" + WHOLE, "damaged|not those that the program writes"),
    "bytes after": (WHOLE + b"hidden", "damaged|not those that the program writes"),
    "a number changed": (WHOLE.replace(bytes(range(100, 120)), bytes(20)), "damaged: Bad CRC"),
    "zip slip": (only("a.json", (entry("../a.json"), b"{}\n")), NAMED),
    "absolute": (only("a.json", (entry("/etc/a.json"), b"{}\n")), NAMED),
    "drive": (only("a.json", (entry("C:\\a.json"), b"{}\n")), NAMED),
    "null": (WHOLE.replace(b"a.json", b"a\0json"), NAMED),
    "folder": (only("a.json", (entry("a.json/", stat.S_IFDIR | 0o755), b"")), NAMED),
    "link": (only("a.json", (entry("a.json", stat.S_IFLNK | 0o777), b"/etc/passwd")), "must be a file, got a link"),
    "twice": (only("a.json", (entry("a.json"), b"{}\n"), (entry("a.json"), b"[]\n")), "'a.json' occurs twice"),
    "bomb": (only("a.json", (entry("a.json", compressed=zipfile.ZIP_DEFLATED), bytes(2**24))), "stored without compression"),
    "wrong hash": (only("a.json", (entry("a.json"), b"[]\n")), "the SHA-256 of a.json does not match"),
    "one more": (only("a.json", (entry("a.json"), b"{}\n"), (entry("c.json"), b"{}\n")), "'c.json' is in only one of them"),
    "one less": (only("a.json"), "'a.json' is in only one of them"),
    "no manifest": (only(MANIFEST), "holds no manifest.json"),
    "other order": (
        rewritten(lambda name, content: [(entry(name, stat.S_IFREG | 0o600), content)]),
        "not those that the program",
    ),
    "unknown kind": (manifest_with(kind="theatre"), "kind of the archive must be one of"),
    "other kind": (pack("submission", {}, FILES), "must be a bundle, got a submission"),
    "other format": (manifest_with(format=2), "must have format 1, got 2"),
    "format by name": (manifest_with(format=True), "must have format 1, got True"),
    "files of another type": (manifest_with(files=[]), "must be objects"),
    "manifest of another type": (only(MANIFEST, (entry(MANIFEST), b"[]")), "must be an object with"),
    "deep": (only(MANIFEST, (entry(MANIFEST), b"[" * 10**6)), "nested too deeply"),
    "NaN": (only(MANIFEST, (entry(MANIFEST), b'{"format": NaN}')), "finite, got NaN"),
    "overflow": (only(MANIFEST, (entry(MANIFEST), b'{"format": 1e999}')), "finite, got '1e999'"),
    "digits": (only(MANIFEST, (entry(MANIFEST), b"9" * 10**5)), "is not JSON"),
    "key twice": (only(MANIFEST, (entry(MANIFEST), b'{"format": 1, "format": 1}')), "the key 'format' occurs twice"),
    "not text": (only(MANIFEST, (entry(MANIFEST), b"\xff\xfe")), "is not JSON"),
}


def test_equal_content_has_equal_bytes_whatever_the_order(tmp_path):
    assert pack("bundle", {"x": 1.5}, dict(reversed(FILES.items()))) == WHOLE
    (tmp_path / "x.zip").write_bytes(WHOLE)
    read = unpack(tmp_path / "x.zip")
    assert (read.kind, read.about, read.files) == ("bundle", {"x": 1.5}, FILES)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_one_clear_error(kind, tmp_path):
    content, message = HOSTILE[kind]
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        unpack(tmp_path / "x.zip", ("bundle",))
    assert str(tmp_path / "x.zip") in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_every_flipped_byte_is_noticed(tmp_path):
    for place in range(0, len(WHOLE), 7):
        changed = bytearray(WHOLE)
        changed[place] ^= 1
        (tmp_path / "x.zip").write_bytes(changed)
        with pytest.raises(ValueError, match=r"x\.zip: "):
            unpack(tmp_path / "x.zip")


def test_overlapping_entries_are_refused(tmp_path):
    """Two entries of the directory that lead to the same bytes: a bomb without compression."""
    content = pack("bundle", {}, {"a.bin": bytes(5000)})
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    first = content[start : content.index(b"PK\x01\x02", start + 4)]
    names = [first.replace(b"a.bin", f"{letter}.bin".encode()) for letter in "abcdefgh"]
    rest = content[start + len(first) : end]
    directory = b"".join(names) + rest
    count = (len(names) + 1).to_bytes(2, "little")
    tail = content[end : end + 8] + count + count + len(directory).to_bytes(4, "little") + content[end + 16 :]
    (tmp_path / "x.zip").write_bytes(content[:start] + directory + tail)
    with pytest.raises(ValueError, match="entries overlap"):
        unpack(tmp_path / "x.zip")


def test_more_files_than_an_archive_may_hold_are_refused_before_they_are_listed(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04" + b"PK\x01\x02" * 10_000)
    with pytest.raises(ValueError, match="may hold 4,096 files, got more"):
        unpack(tmp_path / "x.zip")
    with pytest.raises(ValueError, match="may hold 4,096 files"):
        pack("bundle", {}, {f"f{number}": b"" for number in range(5000)})


def test_json_that_is_not_strict_is_refused():
    assert parse_json(b'{"a": [1, 2.5, null, true, "x"]}', "it") == {"a": [1, 2.5, None, True, "x"]}
    with pytest.raises(ValueError, match="it must have at most"):
        parse_json(b" " * (2**25 + 1), "it")
