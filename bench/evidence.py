"""Evidence: the arrays that a run keeps, cut to subsets of its examples where they are large. The rule is in docs/results.md.

``kept_<set>`` of cut evidence states ``[n, of how many]``; a metric of the subset states n in its key.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from elboard.bench.metrics.conventions import bare, of_examples

LIMIT, SMALL = 16 * 1024, 1024  # bytes, before compression, of all arrays and of one that is always kept
Arrays = Mapping[str, np.ndarray]


class Examples(NamedTuple):
    """A set of examples: patterns of the arrays whose first axis runs over them, and of the metrics (without parameters) that are of them.

    Arrays of one set may differ in length, as sets that are compared do: each then keeps at most the number of the subset.
    """

    arrays: tuple[str, ...]
    metrics: tuple[str, ...]

    def among(self, arrays: Arrays) -> dict[str, np.ndarray]:
        return {name: array for name, array in arrays.items() if any(fnmatchcase(name, pattern) for pattern in self.arrays)}

    def count(self, arrays: Arrays) -> int:
        return max(map(len, self.among(arrays).values()), default=0)


Sets = Mapping[str, Examples]


class Scores(NamedTuple):
    """Metrics of a run, those of subsets among them, its evidence and its pictures."""

    metrics: dict[str, float]
    evidence: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray]


def _bytes(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())


def _few(array: np.ndarray, n: int) -> np.ndarray:
    return array[np.arange(n) * len(array) // n] if n < len(array) else array


def cut(sets: Sets, arrays: Arrays) -> dict[str, np.ndarray]:
    """``arrays`` within :data:`LIMIT`."""
    members = {of: examples.among(arrays) for of, examples in sets.items()}
    loose = {name: array for name, array in arrays.items() if not any(name in among for among in members.values())}
    if _bytes(loose) > LIMIT // 2:
        loose = {name: array for name, array in loose.items() if array.nbytes <= SMALL}
    while _bytes(loose) + sum(map(_bytes, members.values())) > LIMIT:
        of = max((of for of in members if sets[of].count(members[of]) > 1), key=lambda of: _bytes(members[of]), default="")
        if not of:
            break
        n = sets[of].count(members[of]) - 1
        n -= n % 10 ** (len(str(n)) - 1)
        members[of] = {name: _few(arrays[name], n) for name in members[of]}
        loose[f"kept_{of}"] = np.array([n, sets[of].count(arrays)])
    return {**loose, **{name: array for among in members.values() for name, array in among.items()}}


def number(sets: Sets, key: str, arrays: Arrays) -> int:
    """How many examples of the set of the metric ``key`` were kept; 0 if all. Raises ValueError where ``arrays`` are not so many."""
    of = examples_of(sets, key)
    if f"kept_{of}" not in arrays:
        return 0
    n, total = arrays[f"kept_{of}"].tolist()
    known = {name for examples in sets.values() for name in examples.among(arrays)}
    loose = [array for name, array in arrays.items() if name not in known and not name.startswith("kept_")]
    padded = sum(array.nbytes for array in loose) > LIMIT // 2 and any(array.nbytes > SMALL for array in loose)
    if not 0 < n < total or n != sets[of].count(arrays) or _bytes(arrays) < LIMIT // 2 or padded or not _tight(sets, arrays):
        raise ValueError(f"kept_{of} says {n} of {total} examples: its arrays have others, or room for more")
    return n


def _tight(sets: Sets, arrays: Arrays) -> bool:
    """Whether the set that was cut last would not fit with one step more."""
    for of, examples in sets.items():
        if f"kept_{of}" in arrays:
            n = int(arrays[f"kept_{of}"][0])
            each = sum(array.nbytes / n for array in examples.among(arrays).values() if len(array) == n)
            if _bytes(arrays) + each * 10 ** (len(str(n)) - 1) > LIMIT:
                return True
    return False


def examples_of(sets: Sets, key: str) -> str:
    """The set that the metric ``key`` is of; empty if of none."""
    return next((of for of, examples in sets.items() if any(fnmatchcase(bare(key), pattern) for pattern in examples.metrics)), "")


def of_subsets(task: Any, evidence: Arrays, metrics: Iterable[str]) -> dict[str, float]:
    """Those of ``metrics`` of all examples that ``evidence`` of ``task`` (a class) keeps a subset for, of it, under keys that state n."""
    sizes = {key: number(task.sets, key, evidence) for key in metrics}
    wanted = [of_examples(key, n) for key, n in sizes.items() if n]
    return task.score(evidence, wanted) if wanted else {}


def scored(task: Any, observed: Any) -> Scores:
    """What becomes of an ``Observed`` of ``task`` (a class)."""
    metrics, evidence = task.score(observed.arrays), task.compact(observed.arrays)
    try:
        few = {key: value for key, value in of_subsets(task, evidence, metrics).items() if np.isfinite(value)}
    except (KeyError, ValueError, IndexError) as error:  # what was computed of all examples is not lost for it
        few = {}
        warnings.warn(f"its evidence gives no metric, as {task.__name__}.sets cuts it ({type(error).__name__}: {error})", stacklevel=2)
    return Scores({key: float(value) for key, value in {**few, **metrics}.items()}, evidence, observed.pictures)
