"""Schedules over training, in shares of it."""

from __future__ import annotations


def ramp(progress: float, share: float) -> float:
    """0 at the start, rising linearly to 1 at ``share`` of training, 1 from there on; 1 throughout where ``share`` is 0."""
    return min(1.0, progress / share) if share > 0 else 1.0
