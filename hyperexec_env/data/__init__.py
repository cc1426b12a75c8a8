"""User data: reading bar files, and calibrating a scenario to them."""
