"""``compact`` and ``archive``."""

from __future__ import annotations

import warnings
from pathlib import Path


def compact_command(out: Path | None) -> int:
    """Index the records of the folder of runs ``out``, and the statistics of its large boards.

    Raises UserError if it is not there or cannot be written.
    """
    from elboard.bench.cli.boards import telling
    from elboard.bench.run import root_folder
    from elboard.results.store import compact

    root = root_folder(out)
    with telling():
        done = compact(root)
    keep_statistics(root)
    print(f"{done.records} records in {done.parts} parts, {done.fresh} of them new; {done.removed} parts replaced")
    return 0


def keep_statistics(root: Path) -> None:
    """Compute what boards of the records under ``root`` and of the package say, and keep that alone for ``leaderboard``."""
    from elboard.results.backfill import filled
    from elboard.results.badges import keep_badges
    from elboard.results.board.build import boards
    from elboard.results.board.summaries import clear
    from elboard.results.store import groups
    from elboard.results.store.homes import FOLDER

    clear(root / FOLDER)
    keep_badges(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those who index the records tell of them
        boards(filled(groups(root), root), kept_in=root / FOLDER)


def archive_command(keys: list[str], out: Path | None) -> int:
    """Move the runs ``keys``, finished for good, into the archive of ``out``. Raises UserError if one cannot be moved."""
    from elboard.bench.cli.boards import telling
    from elboard.bench.run import root_folder
    from elboard.results.store import pack

    root = root_folder(out)
    with telling():
        done = pack(root, keys)
    print(f"{len(set(keys))} runs moved to {root / 'archive'}, which holds {done.records} records now")
    return 0
