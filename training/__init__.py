"""Training scripts, one method per file, and the leaderboard."""
