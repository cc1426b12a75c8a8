"""The classical desk: schedules."""
