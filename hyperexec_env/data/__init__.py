"""A user's own data: readers of bars, and the calibration of a scenario to them."""
