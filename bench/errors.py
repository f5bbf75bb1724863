"""Errors a user can cause, and the words for them: one line, what is wrong, where, the nearest valid thing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any


class UserError(Exception):
    """A mistake in what was asked for. The command line prints its message alone and exits with code 2; so does a notebook."""

    def _render_traceback_(self) -> list[str]:  # by which IPython shows it
        return [f"error: {printable(str(self))}"]


class RunFailed(Exception):
    """A run has failed; ``record`` says how, if there is one."""

    def __init__(self, message: str, record: Any = None):
        super().__init__(message)
        self.record = record


class NonFiniteLoss(ArithmeticError):
    """The training loss became NaN or infinite; the run is recorded as failed with class ``nan``."""


def check_known(what: str, word: str, known: Collection[str]) -> None:
    """Raises UserError, with the nearest of ``known``, where ``word`` is none of them."""
    if word not in known:
        raise UserError(f"no {what} {word!r}: {nearest(word, known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A short hint that names the entries of ``known`` closest to ``word``, or some of them where none is close."""
    names = sorted({str(name) for name in known})
    close = difflib.get_close_matches(word, names, n=2, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    if not names:
        return "there are none"
    shown = ", ".join(names[:12])
    return f"known: {shown}" + (f", ... ({len(names)} in all)" if len(names) > 12 else "")


def command(*words: object, out: object = None, paths: Iterable[object] = ()) -> str:
    """A command line of ours that works as it is printed: on the folder of runs ``out`` and with what lies in ``paths``."""
    import shlex

    more = [*(["--out", out] if out else []), *(word for path in paths for word in ("--path", path))]
    return shlex.join(map(str, ("elboard", *words, *more)))


def printable(text: str) -> str:
    """``text`` on one line with what a terminal would act on as its escape, ``\\x1b``: control characters, separators of lines, marks that
    turn the direction of writing."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
