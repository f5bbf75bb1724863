"""Waiting for a cluster to do something."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 3  # so many times slower than usual a busy machine may be


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Look ten times a second; fail after ``PATIENCE`` times ``seconds``, within which it usually holds."""
    end = time.monotonic() + PATIENCE * seconds
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE * seconds:.0f} s: {what}"
        time.sleep(0.1)
