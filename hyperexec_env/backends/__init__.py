"""Run functions of records on many lanes: on numpy arrays, or in generated loops that numba compiles. Knows no finance."""
