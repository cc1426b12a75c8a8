"""Training scripts, one method a file, and the leaderboard."""
