"""``data list``, ``data fetch``, ``data check``."""

from __future__ import annotations

import sys

from elboard.bench.errors import UserError, nearest


def _names(names: list[str]) -> list[str]:
    from elboard.tasks.data.fetch import describe

    known = [entry["name"] for entry in describe()]
    if names == ["all"] or not names:
        return known
    for name in names:
        if name not in known:
            raise UserError(f"no data set {name!r}: {nearest(name, known)}")
    return names


def print_data() -> None:
    """All data sets with licence and whether they are here."""
    from elboard.bench.cli.listing import print_table
    from elboard.tasks.data.fetch import available, describe

    rows = [[e["name"], e["title"], e["licence"], "yes" if available(e["name"]) else "no"] for e in describe()]
    print_table(["data", "what", "licence", "here"], rows)


def fetch_data(names: list[str]) -> int:
    """Fetch each; one line an outcome. Returns 1 if any could not be had."""
    from elboard.tasks.data.fetch import DataError, fetch

    failed = 0
    for name in _names(names):
        try:
            print(f"{name}: {fetch(name)}")
        except DataError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


def check_data(names: list[str]) -> int:
    """Compare with the checksums. Returns 1 if any differs."""
    from elboard.tasks.data.fetch import available, check

    failed = 0
    for name in _names(names):
        if not names and not available(name):
            continue
        good, message = check(name)
        print(f"{name}: {message}")
        failed |= not good
    return int(failed)
