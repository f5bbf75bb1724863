"""Leaderboards: pure functions of records."""
