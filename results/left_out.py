"""What cannot be read is left out, with a line for each file, however it was read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elboard.bench.record import InvalidRecord

SHOWN = 5  # warnings of one call, beside the count of the rest


@contextmanager
def leaving_out(path: str | Path, left_out: list[str]) -> Iterator[None]:
    """Reads ``path`` within, where it can be read; a line for ``left_out`` where it cannot, unless it was removed since it was listed."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        left_out.append(f"{path}: cannot be read ({error.strerror}); it is left out")
    except InvalidRecord as error:
        left_out.append(str(error))


@contextmanager
def telling() -> Iterator[list[str]]:
    """A list for lines about what is left out; warns in the end of each, of the first five where there are more, and how many more."""
    messages: list[str] = []
    yield messages
    for message in messages[:SHOWN]:
        warnings.warn(message, stacklevel=4)
    if len(messages) > SHOWN:
        warnings.warn(f"... and {len(messages) - SHOWN} more are left out", stacklevel=4)
