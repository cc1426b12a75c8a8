"""Scenario files: TOML text to plain values and back, and the chain of files that are bases of each other."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from hyperexec_env.files import read_regular

__all__ = ["is_path", "parse_toml", "read_chain", "toml_key", "toml_value"]

_LARGEST_FILE: Final = 2**18
"""Largest size of a scenario file with all its bases, bytes."""
_MOST_BASES: Final = 16
"""Largest number of files in a chain of bases."""
_LONG_KEY: Final = re.compile(r"""(?:\.[ \t]*(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*){32}""")
"""A dotted key of more than 32 parts, whose parsing takes time and memory quadratic in the number of parts."""


@lru_cache(maxsize=_MOST_BASES)
def parse_toml(text: str, what: str = "a scenario") -> Mapping[str, Any]:
    """Return the values of TOML text; `what` the text should be is named by errors."""
    if _LONG_KEY.search(text):
        raise ValueError(f"not {what} in TOML: a key has more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"not {what} in TOML: the values are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise ValueError(f"not {what} in TOML: {error}") from None


def toml_key(key: str) -> str:
    """Return a TOML key: bare where TOML allows it, otherwise quoted."""
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else toml_value(key)


def toml_value(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, float):
        return "inf" if value == math.inf else repr(value)
    return repr(value)


def read_chain(path: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the values of a TOML file and of each base that is a file, each with its path, outermost first.

    Raises:
        ValueError: A file cannot be read, is empty or is not TOML, or a base leads back; the message names the file.
    """
    found: list[tuple[Path, Mapping[str, Any]]] = []
    following: Path | None = path
    left = _LARGEST_FILE
    while following is not None:
        if any(following.resolve() == file.resolve() for file, _ in found):
            raise ValueError(f"{following}: base leads back to this file")
        if len(found) == _MOST_BASES:
            raise ValueError(f"{path}: a chain of bases may hold {_MOST_BASES} files, got more")
        content = read_regular(following, left, "the scenario file")
        left -= len(content)
        try:
            values = parse_toml(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ValueError(f"cannot read the scenario file {following}: not text in UTF-8") from None
        except ValueError as error:
            raise ValueError(f"{following}: {error}") from None
        if not values:
            raise ValueError(f"{following}: the file is empty; give at least one field, or a `base`")
        found.append((following, values))
        base = values.get("base")
        following = following.parent / base if isinstance(base, str) and is_path(base) else None
    return found


def is_path(value: Any) -> bool:
    """Return whether a value is a path rather than the name of a scenario."""
    if isinstance(value, str):
        return value.endswith(".toml") or os.sep in value
    return isinstance(value, os.PathLike)
