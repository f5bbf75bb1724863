"""``python -m elboard`` is ``elboard``."""

from elboard.bench.cli import entry

if __name__ == "__main__":
    entry()
