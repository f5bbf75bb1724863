"""Errors a user can cause, and the words for them: one line, what is wrong, where, the nearest valid thing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class UserError(Exception):
    """A mistake in what was asked for. The command line prints its message alone and exits with code 2."""


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
