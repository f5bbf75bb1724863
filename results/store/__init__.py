"""Reading records: those of a folder of runs and those that ship with the package. Never imports torch.

Truth is, of those that ship, one line each (:mod:`elboard.results.store.lines`); of runs it is one JSON file for each attempt
(:mod:`elboard.results.store.files`). All else can be deleted at any time and made again: each of these sources may have one index, a
Parquet file with a row for each record (:mod:`elboard.results.store.index`). Readers compare name, size and modification time of every
file with what the index says, and read the rest from the files themselves, so that an answer does not depend on what is indexed.

``<root>/archive/`` is a folder of runs like ``<root>`` to which nothing is written any more; :func:`pack` moves whole runs into it. Its
index says which state of the folder it covers; as long as that is the present one, its files are not looked at one by one, which would
take seconds for a hundred thousand. Else it is read like any other folder of runs, so that a move that was cut short, a lost index or a
copied folder cost time and no record. What is not noticed before the next :func:`compact` is a change inside the folder of an archived
run: nothing writes there.

DuckDB works in memory, in one process, and is imported only where there is an index.
"""

from __future__ import annotations

from elboard.results.store.files import INDEX, latest
from elboard.results.store.groups import Group, groups_of
from elboard.results.store.lines import SHIPPED
from elboard.results.store.reading import Compacted, compact, groups, load, pack

__all__ = ["INDEX", "SHIPPED", "Compacted", "Group", "compact", "groups", "groups_of", "latest", "load", "pack"]
