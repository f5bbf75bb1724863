"""What others bring: entry points of installed packages, and files beside the package. Whose fault it is is told, and all else goes on."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from elboard.bench.errors import UserError, printable

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

FAULTS = (Exception, SystemExit)  # what anybody's code may raise; Ctrl-C is the user's
_told: set[str | None] = set()


def left_out(reason: str) -> None:
    """Say on standard error, once a process, what is broken or lacking, and that the rest is there."""
    if reason not in _told and None not in _told:
        sys.stderr.write(f"left out: {printable(reason)}\n")
    _told.add(reason)


def hush() -> None:
    """Say nothing of the kind any more: this process works for one that has said it."""
    _told.add(None)


def points(group: str) -> list[EntryPoint]:
    """The entry points of ``group``; a distribution whose list of them cannot be read is left out."""
    import importlib.metadata  # a tenth of what help takes

    try:
        return list(importlib.metadata.entry_points(group=group))
    except Exception:  # one malformed file of any distribution
        return [point for of in importlib.metadata.distributions() for point in _points_of(of) if point.group == group]


def _points_of(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points)
    except Exception as error:
        left_out(f"entry points of {distribution.name} {distribution.version}: they cannot be read ({type(error).__name__})")
        return []


def distribution(point: EntryPoint) -> str:
    """The name and version of the installed package that ``point`` belongs to."""
    return f"plug-in {point.dist.name} {point.dist.version}" if point.dist else "plug-in"


def fault(point: EntryPoint, error: BaseException) -> str:
    """The one line for an entry ``point`` that cannot be used."""
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return f"{distribution(point)}: {point.name} = {point.value} ({point.group}): {' '.join(said.split())}"


def words(error: BaseException) -> str:
    """What ``error`` says, which anybody's class may refuse to."""
    try:
        return str(error)
    except FAULTS as other:
        return f"its text cannot be printed ({type(other).__name__})"


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """What is printed meanwhile, by processes started here too, goes to standard error: standard output is for what was asked for."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            sys.stdout.flush()
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        with contextlib.suppress(OSError):  # closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        yield
