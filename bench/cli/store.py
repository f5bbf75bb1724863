"""``compact`` and ``archive``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from results.store import Compacted


def compact_command(out: Path | None) -> int:
    """Index the records of the folder of runs ``out``, and the statistics of its large boards.

    Raises UserError if it is not there or cannot be written.
    """
    from bench.run import root_folder
    from results.board.build import boards
    from results.board.summaries import clear
    from results.store import compact, groups
    from results.store.index import FOLDER

    root = root_folder(out)
    done = _told(lambda: compact(root))
    clear(root / FOLDER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told above
        boards(groups(root), kept_in=root / FOLDER)
    print(f"{done.records} records in {done.parts} parts, {done.fresh} of them new; {done.removed} parts replaced")
    return 0


def archive_command(keys: list[str], out: Path | None) -> int:
    """Move the runs ``keys``, finished for good, into the archive of ``out``. Raises UserError if one cannot be moved."""
    from bench.run import root_folder
    from results.store import pack

    root = root_folder(out)
    done = _told(lambda: pack(root, keys))
    print(f"{len(set(keys))} runs moved to {root / 'archive'}, which holds {done.records} records now")
    return 0


def _told(work: Callable[[], Compacted]) -> Compacted:
    """Warnings of ``work`` as lines on standard error."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        done = work()
    for warning in heard:
        print(f"warning: {warning.message}", file=sys.stderr)
    return done
