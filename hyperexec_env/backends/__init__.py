"""How functions of records run on many lanes: on numpy arrays, or in loops that are written for numba. Knows no finance."""
