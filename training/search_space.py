"""The search space of a tuning: options of a training script that vary, as words, and their optuna distributions.

`learning_rate=1e-4..1e-2` is a range, and `lanes=64,192` a list of values. A range whose upper end is at least ten times its
lower end, both positive, is searched on a logarithmic scale, any other one uniformly.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final

from hyperexec_env.checks import check_choice, nearest, shown
from hyperexec_env.extras import need

__all__ = ["distributions", "fixed_options", "names_and_texts"]

_LOG: Final = 10.0
"""Ratio of the ends of a range from which on it is searched on a logarithmic scale."""
_WORDS: Final = {"true": True, "false": False}


def names_and_texts(words: Iterable[str], what: str) -> dict[str, str]:
    """Return words of the form NAME=TEXT as a mapping; a later word replaces an earlier one of the same name.

    Args:
        words: The words.
        what: Name of the option that holds the words, for the message.

    Raises:
        ValueError: A word has no name or no text.
    """
    found = {}
    for word in words:
        name, _, text = word.partition("=")
        if not name or not text:
            raise ValueError(f"{what} must be of the form NAME=VALUE, got {shown(word)}")
        found[name.strip().replace("-", "_")] = text.strip()
    return found


def fixed_options(record: type, texts: Mapping[str, str], reserved: Collection[str]) -> dict[str, Any]:
    """Return the values of options of a script, given as texts.

    Args:
        record: Dataclass of the options.
        texts: Text of each value, by option.
        reserved: Options that the tuning sets itself.

    Raises:
        ValueError: An option is unknown or reserved, or a text is not a value of its type.
    """
    return {name: _value(record, name, text) for name, text in _known(record, texts, reserved, "set")}


def distributions(record: type, texts: Mapping[str, str], reserved: Collection[str]) -> dict[str, Any]:
    """Return the optuna distributions of options of a script, given as texts.

    Args:
        record: Dataclass of the options.
        texts: Text of each range, by option.
        reserved: Options that the tuning sets itself.

    Raises:
        ValueError: An option is unknown or reserved, a range is empty, or a text is not a value of its type.
        MissingExtra: optuna is not installed.
    """
    return {name: _distribution(record, name, text) for name, text in _known(record, texts, reserved, "vary")}


def _known(record: type, texts: Mapping[str, str], reserved: Collection[str], what: str) -> Iterable[tuple[str, str]]:
    """Yield names and texts; raise ValueError for an option that the script does not have, or that is reserved."""
    names = [item.name for item in fields(record) if item.name not in reserved]
    for name, text in texts.items():
        if name in reserved:
            raise ValueError(f"{what} must name an option that the tuning does not set itself, got {shown(name)}")
        if name not in names:
            raise ValueError(f"{what} must name an option of the training, got {shown(name)}{nearest(name, names)}")
        yield name, text


def _distribution(record: type, name: str, text: str) -> Any:
    """Return the distribution of an option: of a range LOW..HIGH, or of values separated by commas."""
    optuna = need("optuna", "tune")
    if ".." not in text:
        values = [_value(record, name, part.strip()) for part in text.split(",")]
        if len({*values}) < len(values):
            raise ValueError(f"{name} must vary over different values, got {shown(text)}")
        return optuna.distributions.CategoricalDistribution(values)
    ends = text.split("..")
    if _kind(record, name) not in (int, float) or len(ends) != 2:
        raise ValueError(f"{name} must vary over values such as a,b, or a range low..high of numbers, got {shown(text)}")
    low, high = (_value(record, name, end.strip()) for end in ends)
    if not low < high:
        raise ValueError(f"{name} must vary over a range low..high with low below high, got {shown(text)}")
    kind = optuna.distributions.IntDistribution if isinstance(low, int) else optuna.distributions.FloatDistribution
    return kind(low, high, log=low > 0 and high >= _LOG * low)


def _kind(record: type, name: str) -> type:
    """Return the type of an option, without its `| None`."""
    hint = typing.get_type_hints(record)[name]
    found: type = next((part for part in typing.get_args(hint) if part is not type(None)), hint)
    return found


def _value(record: type, name: str, text: str) -> Any:
    """Return the value of a text for an option.

    Raises:
        ValueError: The text is not a value of the option's type.
    """
    kind, choices = _kind(record, name), next(item.metadata["choices"] for item in fields(record) if item.name == name)
    if kind is str:
        return check_choice(name, text, choices) if choices else text
    if kind is bool and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if kind in (int, float):
        with suppress(ValueError):
            number = float(text)
            if math.isfinite(number) and (kind is float or number.is_integer()):
                return kind(number)
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}[kind]
    raise ValueError(f"{name} must be {wanted}, got {shown(text)}")
