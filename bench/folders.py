"""Paths as people give them, in options and variables: ``~`` is somebody's home folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from elboard.bench.errors import UserError, nearest


def path_of(given: str | Path) -> Path:
    """The path ``given``, with the home folder in the place of ``~``. Raises UserError where there is none."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UserError(f"{given}: there is no such home folder; write the whole path") from None


def named_by(variable: str) -> Path | None:
    """The path that an environment variable names, None where it is not set or empty."""
    given = os.environ.get(variable)
    return path_of(given) if given else None


def places(paths: Iterable[str | Path] = ()) -> tuple[Path, ...]:
    """Where methods and tasks outside the package lie: ``paths``, then those of ``ELBOARD_PATH`` with colons between them."""
    given = filter(None, os.environ.get("ELBOARD_PATH", "").split(os.pathsep))
    return tuple(dict.fromkeys(map(path_of, (*paths, *given))))


def existing(out: str | Path) -> Path:
    """A folder of runs that is there. Raises UserError with the nearest one beside it."""
    folder = path_of(out)
    if not folder.is_dir():
        beside = [one.name for one in folder.parent.glob("[!.]*/")] if folder.parent.is_dir() else []
        raise UserError(f"--out {out}: no such folder of runs, {nearest(folder.name, beside)}")
    return folder


def cache_folder() -> Path:
    """Where downloads and what can be made again lie: ``ELBOARD_CACHE``, else ``elboard`` in the user's cache folder. Raises UserError for
    a user without one."""
    given = named_by("ELBOARD_CACHE")
    if given:
        return given
    import platformdirs

    try:
        return platformdirs.user_cache_path("elboard")
    except RuntimeError:
        raise UserError("there is no home folder to keep data sets in; set ELBOARD_CACHE to a folder") from None


def kept_folder() -> Path:
    """:func:`cache_folder`; of a user without one a place in which nothing can be kept."""
    try:
        return cache_folder()
    except UserError:
        return Path(os.devnull, "elboard")
