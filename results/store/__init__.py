"""Reading records: those of a folder of runs and those that ship with the package. Never imports torch.

Truth is, of those that ship, one line each (:mod:`elboard.results.store.lines`); of runs it is one JSON file for each attempt,
``<root>/<key>/attempts/<attempt>.json``, immutable and sealed (:mod:`elboard.bench.record`). All else here can be deleted at any time and
made again:

- ``<root>/.index/*.parquet`` hold the columns that boards are made of, so that files that have not changed since need not be read again.
  :func:`compact` writes them; readers compare name, size and modification time of every loose file with what the parts say, and read the
  rest from the files themselves. So an answer does not depend on what is indexed.
- ``<root>/archive/`` is a folder of runs like ``<root>``, with an index of its own, to which nothing is written any more. :func:`pack`
  moves whole runs into it. Its index says which state of the folder it covers; as long as that state is the present one, its files are not
  looked at one by one, which would take seconds for a hundred thousand. Else it is read like any other folder of runs, so that a move that
  was cut short, a lost part or a copied folder cost time and no record. What is not noticed before the next :func:`compact` is a change
  inside the folder of an archived run: nothing writes there.

A part says of itself what boards need to know of its groups but for their values, which are read when they are asked for
(:mod:`elboard.results.store.groups`). It is written to a temporary name, flushed to disk and renamed; parts never change. DuckDB works in
memory, in one process, and is imported only where there are parts.
"""

from __future__ import annotations

from elboard.results.store.compaction import Compacted, compact, pack
from elboard.results.store.groups import groups, groups_of, load
from elboard.results.store.homes import latest
from elboard.results.store.lines import SHIPPED
from elboard.results.store.rows import Group

__all__ = ["SHIPPED", "Compacted", "Group", "compact", "groups", "groups_of", "latest", "load", "pack"]
