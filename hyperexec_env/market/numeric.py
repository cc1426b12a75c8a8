"""The few helpers that the kernel needs, for Python floats, numpy arrays and torch tensors alike.

Numbers, arrays and tensors may be mixed. torch is never imported here: what has a `clamp` method is a tensor.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["maximum", "minimum", "power"]


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of two values, element by element."""
    if type(a) is float and type(b) is float:
        return a if a < b else b
    if hasattr(a, "clamp"):
        return a.clamp(max=b)
    return b.clamp(max=a) if hasattr(b, "clamp") else np.minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of two values, element by element."""
    if type(a) is float and type(b) is float:
        return a if a > b else b
    if hasattr(a, "clamp"):
        return a.clamp(min=b)
    return b.clamp(min=a) if hasattr(b, "clamp") else np.maximum(a, b)


def power(base: Any, exponent: float) -> Any:
    """Raise a non-negative base to a plain number.

    The exponents 3/2 and 2 (square-root and linear impact) are written with `sqrt` and `*`, which IEEE arithmetic rounds
    correctly: there floats and arrays agree to the last bit. Tensors keep `pow`, whose gradient at zero is finite.
    """
    if type(base) is float:
        if exponent == 1.5:
            return base * math.sqrt(base)
        return base * base if exponent == 2.0 else base**exponent
    if isinstance(base, (np.ndarray, np.generic)):
        if exponent == 1.5:
            return base * np.sqrt(base)
        return base * base if exponent == 2.0 else base**exponent
    return base**exponent
