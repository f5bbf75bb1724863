"""Standard output and error as terminals, pipes and files are found: not UTF-8, closed, full, or left by their reader."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress


class _Raw(io.FileIO):
    """A stream of the process. The first failure to write is kept in ``lost``, and what comes after it is dropped: it ends no training."""

    lost: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return len(data)


def settle() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that any text can be written to: letters that the encoding lacks as escapes."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its place
            os.open(os.devnull, os.O_RDWR)
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        raw = io.BufferedWriter(_Raw(number, "w", closefd=False))
        at_once = name == "stderr" or raw.isatty() or getattr(old, "write_through", False)
        setattr(sys, name, io.TextIOWrapper(raw, getattr(old, "encoding", "utf-8"), "backslashreplace", line_buffering=at_once))


def lost() -> OSError | None:
    """Why standard output takes no more, None where it does: those who write until something happens need not go on."""
    with suppress(AttributeError, ValueError):  # of a stream that was put in its place
        return sys.stdout.buffer.raw.lost
    return None


def settled(code: int) -> int:
    """The exit code after all is written: ``code``, but 2, with a line that says why, where something is not. A reader that has gone away
    has what it wanted."""
    sys.stdout.flush()
    if lost() is None or isinstance(lost(), BrokenPipeError):
        return code
    print(f"error: standard output: cannot be written ({lost().strerror})", file=sys.stderr)
    return code or 2
