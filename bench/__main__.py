"""``python -m bench`` is ``elboard``."""

from bench.cli import entry

entry()
