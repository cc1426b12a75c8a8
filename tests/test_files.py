"""File output: atomic writes, path checks and printable text."""

import gzip
import os
import subprocess
import sys
import tracemalloc

import pytest

from hyperexec_env import files
from hyperexec_env.checks import one_line, shown
from hyperexec_env.files import (
    cache_folder,
    check_folder,
    check_target,
    csv_rows,
    printable,
    read_cached,
    read_regular,
    write_atomically,
    write_cached,
)

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("content", "stored"), [("σ = 2 %\n", "σ = 2 %\n".encode()), (b"\x00\xff", b"\x00\xff")])
def test_text_and_bytes_are_stored_unchanged(tmp_path, content, stored):
    write_atomically(tmp_path / "a.toml", content)
    assert (tmp_path / "a.toml").read_bytes() == stored


def test_a_file_is_replaced_without_leaving_temporary_files(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("a much longer previous text")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.toml"]


def test_a_failed_write_keeps_the_old_content_and_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "a.toml"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"cannot write .*a\.toml: No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.toml"]


def test_content_is_flushed_to_disk_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    write_atomically(tmp_path / "a", "x")
    assert calls == (["fsync", "replace", "fsync"] if hasattr(os, "O_DIRECTORY") else ["fsync", "replace"])


@pytest.mark.parametrize("name", ["missing/a.toml", ".", "file/a.toml"])
def test_an_unwritable_path_is_named_in_the_error(tmp_path, name):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write") as caught:
        write_atomically(tmp_path / name, "x")
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="permissions and symbolic links of POSIX")
def test_permissions_and_symbolic_links_are_preserved(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_atomically(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_new_file_has_the_default_permissions(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    write_atomically(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == plain.stat().st_mode


def test_an_output_path_that_is_an_input_is_refused_under_any_spelling(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("content")
    names = ["a.csv", tmp_path / "a.csv", f"../{tmp_path.name}/a.csv"]
    if os.name != "nt":
        (tmp_path / "link.csv").symlink_to("a.csv")
        names.append("link.csv")
    for target in names:
        for given in names:
            with pytest.raises(ValueError, match=r"cannot write .*: it is one of the files that are read"):
                check_target(target, ["none.csv", given])
        check_target(target, ["b.csv", "none.csv"])
    for valid in (None, "-", "new.csv", os.devnull):
        check_target(valid, ["a.csv", "none.csv"])


def test_an_output_path_that_a_store_or_a_folder_uses_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.json").write_text("{}")
    (tmp_path / "s.toml").write_text("")
    os.link("s.toml", "hard.toml")
    os.link("policy/policy.json", "hard.json")
    (tmp_path / "store-link").symlink_to("new.sqlite")
    for target, used in (
        ("hard.toml", "s.toml"),
        ("./new.sqlite", "new.sqlite"),  # a store that does not exist yet
        ("new.sqlite-wal", "new.sqlite"),
        ("new.sqlite-shm", "store-link"),
        ("policy/result.json", "policy"),
        ("hard.json", "policy"),
    ):
        with pytest.raises(ValueError, match=f"cannot write {target}: it is one of the files that are read"):
            check_target(target, [used])
    assert sorted(os.listdir()) == ["hard.json", "hard.toml", "policy", "s.toml", "store-link"]


def test_an_output_path_that_cannot_be_created_is_refused(tmp_path, capfd):
    (tmp_path / "pipe").mkdir()
    for path, reason in (
        ("/proc/x.json", "may not be written to"),
        ("/dev/full", "it is not a file"),
        (tmp_path / "pipe", "it is not a file"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path / "no" / "x.json", "there is no folder"),
    ):
        with pytest.raises(ValueError, match=f"^cannot write {path}: .*{reason}"):
            check_target(path)
    for folder in ("/proc/x", tmp_path / ("x" * 300) / "y", "/dev/null/x"):
        with pytest.raises(ValueError, match=f"^cannot make the folder {folder}"):
            check_folder(folder)
    check_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_circle_of_links_and_a_read_only_file_are_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "circle").symlink_to("circle")
    for write in (check_target, lambda path: write_atomically(path, "new")):
        with pytest.raises(ValueError, match="circle: it is not a file"):
            write(tmp_path / "circle")
    assert (tmp_path / "circle").is_symlink()
    (tmp_path / "kept").write_text("old")
    (tmp_path / "kept").chmod(0o444)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and allowed(path, mode))  # root may write to it
    with pytest.raises(ValueError, match="kept: the file may not be written to"):
        check_target(tmp_path / "kept")


def test_the_file_that_standard_output_goes_to_is_refused(tmp_path):
    code = "from hyperexec_env.files import check_target; check_target('out.txt')"
    with open(tmp_path / "out.txt", "w") as out:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True)
    assert "cannot write out.txt: standard output goes to this file" in done.stderr


def test_only_regular_files_of_limited_size_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, reason in (
        ("file", "it is larger than 4 bytes"),
        ("pipe", "not a regular file"),
        ("zero", "not a regular file"),
        (".", "not a regular file"),
        ("none", "No such file"),
        ("x" * 300, "File name too long"),
    ):
        with pytest.raises(ValueError, match=f"^cannot read the file .*: {reason}"):
            read_regular(tmp_path / name, 4)
    for name in ("pipe", "zero"):
        with pytest.raises(ValueError, match=r"cannot read .*: not a regular file"):
            next(csv_rows(tmp_path / name))


@pytest.mark.parametrize("end", [".csv", ".csv.gz"])
def test_a_csv_file_of_one_endless_line_is_refused_before_it_is_read(tmp_path, end):
    text = b"a,b\n1,2\n" + b"9" * 10_000_000
    (tmp_path / f"long{end}").write_bytes(gzip.compress(text) if end == ".csv.gz" else text)
    tracemalloc.start()
    with pytest.raises(ValueError, match="after line 2: not a csv file: a line is longer than 65,536 characters"):
        list(csv_rows(tmp_path / f"long{end}"))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_message_is_one_short_printable_line():
    assert one_line("two\n  lines\x1b[31m") == "two lines\\x1b[31m"
    assert one_line("x" * 500) == "x" * 500
    assert one_line("x" * 10**6) == one_line("x" * 501) == "x" * 497 + "..."
    assert shown([1, "a"]) == "[1, 'a']"
    for value in (10**10_000, "x" * 10**6, list(range(10**6)), {"a": "x" * 200}):
        assert len(shown(value)) <= 100


def test_printable_escapes_control_characters():
    assert printable("σ = 2 %, <b>") == "σ = 2 %, <b>"
    assert printable("a\x1b[31m\n\udc80\u202e") == r"a\x1b[31m\n\udc80\u202e"


# --- the cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The path of a cache that does not exist yet, in a process that has reported nothing."""
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "_REPORTED", set())
    return tmp_path / "cache"


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_the_cache_is_a_folder_of_the_user_alone(cache, capsys, monkeypatch):
    assert cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    write_cached(cache / "a", b"content")
    assert (cache / "a").stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err == ""
    for spoil, fault in (
        (lambda: cache.chmod(0o777), "others may write to it"),
        (lambda: cache.chmod(0o720), "others may write to it"),
        (lambda: monkeypatch.setattr(os, "geteuid", lambda: cache.stat().st_uid + 1), "another user owns it"),
        (lambda: monkeypatch.setenv("HYPEREXEC_CACHE", "/proc/cache"), "No such file or directory"),
    ):
        cache.chmod(0o700)
        files._REPORTED.clear()
        spoil()
        found = [cache_folder(), cache_folder()]
        assert found[0] == found[1] != cache
        assert found[0].stat().st_mode & 0o777 == 0o700
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.endswith(f"is not used ({fault}): this process uses a temporary folder\n")


def test_a_temporary_cache_is_deleted_at_the_end(tmp_path):
    (tmp_path / "file").write_text("in the way")
    environment = {**os.environ, "HYPEREXEC_CACHE": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    code = "from hyperexec_env.files import cache_folder; print(cache_folder())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path / "hyperexec-"))
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]


def test_a_cached_file_is_believed_only_as_it_was_written(cache, capsys):
    file = cache / "a"
    assert read_cached(file) is None
    write_cached(file, b"content")
    assert read_cached(file) == b"content"
    assert capsys.readouterr().err == ""
    whole = file.read_bytes()
    other = cache / "b"
    for spoiled in (b"", whole[:-1], whole[:64], bytes(len(whole)), whole.replace(b"content", b"Content"), whole + b"x"):
        file.write_bytes(spoiled)
        assert read_cached(file) is None
    other.write_bytes(whole)  # the content of another key
    assert read_cached(other) is None
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"hyperexec: the cached file {name} is not used (it is damaged): it is computed again" for name in (file, other)
    ]
    os.remove(file)
    os.mkfifo(file)
    assert read_cached(file) is None
    assert "not a regular file" in capsys.readouterr().err


def test_a_cached_file_that_others_may_change_is_not_believed(cache, capsys, monkeypatch):
    write_cached(cache / "a", b"content")
    for path in (cache / "a", cache):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        monkeypatch.setattr(files, "_REPORTED", set())
        assert read_cached(cache / "a") is None
        assert "(others may write to it)" in capsys.readouterr().err
        path.chmod(mode)
    assert read_cached(cache / "a") == b"content"


def test_a_full_disk_is_one_line_and_no_error(cache, capsys, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        write_cached(cache / "a", b"content")
    assert (
        capsys.readouterr().err == f"hyperexec: results are not cached: cannot write {cache / 'a'}: No space left on device\n"
    )
    assert os.listdir(cache) == []
