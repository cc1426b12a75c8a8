"""Boards for others: bundles that another machine reproduces, their verification, and a site of leaderboards."""
