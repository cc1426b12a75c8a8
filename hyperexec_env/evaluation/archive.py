"""Archives of policies and results: zip files without compression, whose bytes depend on their content alone.

An archive holds `manifest.json` (the kind, and size and SHA-256 of every other file) and the files, in the order of their
names. :func:`pack` writes it; :func:`unpack` accepts only what :func:`pack` writes, byte for byte, so that a link, a path that
leads out, a second file of the same name, a compressed bomb, a comment or hidden bytes cannot occur in an archive that is
read. Nothing is ever extracted to the disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, NoReturn

from hyperexec_env.checks import check_choice, one_line, shown
from hyperexec_env.files import read_regular

__all__ = ["KINDS", "Archive", "pack", "parse_json", "to_json", "unpack"]

KINDS: Final = ("submission", "bundle")
"""Kinds of archives: one policy with its card; boards with their policies and raw results."""
MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_LARGEST: Final = 2**29
"""Largest size of an archive, bytes."""
_LARGEST_JSON: Final = 2**25
"""Largest size of a JSON document, bytes."""
_MOST_FILES: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}){0,5}")
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_ENTRY: Final = b"PK\x01\x02"
"""Beginning of an entry in the directory of a zip file."""


class Archive(NamedTuple):
    """Content of an archive."""

    kind: str
    """One of the :data:`KINDS`."""
    about: dict[str, Any]
    """Description of the content, of JSON types."""
    files: dict[str, bytes]
    """Content by name, without the manifest."""
    sha256: str
    """Hash of the archive, which identifies it."""


def to_json(value: Any) -> bytes:
    """Return a value as JSON text whose bytes depend on the value alone.

    Raises:
        ValueError: The value holds a number that is not finite.
    """
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_json(content: bytes, what: str) -> Any:
    """Return the value of a JSON document from a stranger.

    Args:
        content: The document, at most 32 MiB.
        what: Name of the document, for the message.

    Raises:
        ValueError: The document is too large, nested too deeply or not JSON, an object has a key twice, or a number is not
            finite.
    """
    if len(content) > _LARGEST_JSON:
        raise ValueError(f"{what} must have at most {_LARGEST_JSON:,} bytes, got {len(content):,}")
    try:
        return json.loads(content, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, or a number with thousands of digits
        raise ValueError(f"{what} is not JSON: {error}") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {word}")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(shown(text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {shown(key)} occurs twice")
        found[key] = value
    return found


def pack(kind: str, about: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return an archive; equal arguments yield equal bytes.

    Args:
        kind: One of the :data:`KINDS`.
        about: Description of the content, of JSON types.
        files: Content by name; names are paths of letters, digits and `._-`, separated by `/`.

    Raises:
        ValueError: A name is invalid, or the archive is too large.
    """
    listed = {name: {"bytes": len(files[name]), "sha256": _sha256(files[name])} for name in sorted(files)}
    manifest = to_json({"format": _FORMAT, "kind": kind, "about": dict(about), "files": listed})
    members = {**files, MANIFEST: manifest}
    if len(members) > _MOST_FILES or sum(map(len, members.values())) > _LARGEST - 2**20:
        size = sum(map(len, members.values()))
        raise ValueError(
            f"an archive may hold {_MOST_FILES:,} files of {_LARGEST:,} bytes in all, got {len(members):,} of {size:,}"
        )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            _check_name(name)
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16  # the same on every system
            file.writestr(entry, members[name])
    return target.getvalue()


def unpack(path: str | os.PathLike[str], kinds: tuple[str, ...] = KINDS) -> Archive:
    """Read an archive into memory and check every byte of it.

    Args:
        path: The file.
        kinds: Kinds that are accepted.

    Raises:
        ValueError: The file cannot be read, is larger than 512 MiB or is not an archive that :func:`pack` writes, or a hash
            does not match; the message names the fault.
    """
    content = read_regular(path, _LARGEST, "the archive")
    try:
        return _unpacked(content, kinds)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _unpacked(content: bytes, kinds: tuple[str, ...]) -> Archive:
    members = _members(content)
    if MANIFEST not in members:
        raise ValueError(f"the archive holds no {MANIFEST}")
    manifest = parse_json(members.pop(MANIFEST), MANIFEST)
    kind, about = _check_manifest(manifest, kinds)
    _check_hashes(manifest["files"], members)
    if pack(kind, about, members) != content:
        raise ValueError(
            "the bytes are not those that the program writes for this content: the file was changed or made by hand"
        )
    return Archive(kind, about, members, _sha256(content))


def _members(content: bytes) -> dict[str, bytes]:
    """Return the files of a zip archive by name.

    Raises:
        ValueError: The content is not a zip archive, or has an entry that :func:`pack` does not write.
    """
    if not content.startswith(b"PK\x03\x04"):
        raise ValueError("not an archive of this program")
    if content.count(_ENTRY) > 2 * _MOST_FILES:  # before a list of millions of entries is made
        raise ValueError(f"an archive may hold {_MOST_FILES:,} files, got more")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = file.infolist()
            _check_entries(entries, len(content))
            return {entry.filename: file.read(entry) for entry in entries}
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OverflowError,
        UnicodeDecodeError,
        OSError,
    ) as error:
        raise ValueError(f"the zip archive is damaged: {one_line(str(error))}") from None


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Check the directory of a zip file before any entry is read."""
    if len(entries) > _MOST_FILES:
        raise ValueError(f"an archive may hold {_MOST_FILES:,} files, got {len(entries):,}")
    names = set()
    for entry in entries:
        _check_name(entry.orig_filename)
        if entry.filename in names:
            raise ValueError(f"the name {entry.filename!r} occurs twice")
        names.add(entry.filename)
        if stat.S_IFMT(entry.external_attr >> 16) != stat.S_IFREG:
            raise ValueError(f"{entry.filename!r} must be a file, got a link, a folder or a device")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1:
            raise ValueError(f"{entry.filename!r} must be stored without compression and encryption")
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise ValueError(f"the files must fit into the {size:,} bytes of the archive, got {total:,}: entries overlap")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        wanted = "a path of letters, digits and ._- inside the archive"
        raise ValueError(f"a name in an archive must be {wanted}, got {shown(name)}")


def _check_manifest(manifest: Any, kinds: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the kind and the description of a manifest."""
    if not isinstance(manifest, dict) or set(manifest) != {"format", "kind", "about", "files"}:
        raise ValueError(f"{MANIFEST} must be an object with format, kind, about and files")
    if type(manifest["format"]) is not int or manifest["format"] != _FORMAT:
        raise ValueError(f"the archive must have format {_FORMAT}, got {shown(manifest['format'])}")
    kind = check_choice("kind of the archive", manifest["kind"], KINDS)
    if kind not in kinds:
        raise ValueError(f"the archive must be a {' or a '.join(kinds)}, got a {kind}")
    if not isinstance(manifest["about"], dict) or not isinstance(manifest["files"], dict):
        raise ValueError(f"about and files in {MANIFEST} must be objects")
    return kind, manifest["about"]


def _check_hashes(listed: dict[str, Any], members: Mapping[str, bytes]) -> None:
    """Check that the manifest lists the files of the archive with their hashes."""
    if set(listed) != set(members):
        other = sorted(set(listed) ^ set(members))[0]
        raise ValueError(f"{MANIFEST} must list the files of the archive, but {shown(other)} is in only one of them")
    for name, content in members.items():
        if listed[name] != {"bytes": len(content), "sha256": _sha256(content)}:
            raise ValueError(f"the SHA-256 of {name} does not match its content")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
