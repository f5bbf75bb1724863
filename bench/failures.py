"""What a failed run says of itself: the class of its failure, and one line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from elboard.bench.config import RunSpec
from elboard.bench.errors import NonFiniteLoss, UserError
from elboard.bench.plugins import words
from elboard.bench.registry import find


def by_signal(error: BaseException) -> bool:
    """Whether Ctrl-C or another signal ended the run; Lightning makes an exit of it. Any other exit is asked for by some code."""
    ended = isinstance(error.__context__, KeyboardInterrupt) or type(error).__name__ == "SIGTERMException"
    return isinstance(error, KeyboardInterrupt) or isinstance(error, SystemExit) and ended


def class_of(error: BaseException) -> str:
    """One of nan, oom, infra and bug."""
    import torch

    if isinstance(error, NonFiniteLoss):
        return "nan"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in words(error):
        return "oom"
    return "infra" if isinstance(error, OSError | UserError) else "bug"


def message_of(error: BaseException, spec: RunSpec) -> str:
    """The error in a line; of a bug also the line of the method's file, else the task's, and of unlike shapes where those of data are."""
    text = f"{type(error).__name__}: {words(error)}".splitlines()[0]
    if class_of(error) != "bug":
        return text
    paths = tuple(map(Path, spec.paths))
    files = [str(find(*of, paths).file) for of in (("method", spec.method), ("task", spec.task))]
    frames = [[frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file] for file in files]
    said = [f"{Path(found[-1].filename).name}:{found[-1].lineno}" for found in frames if found][:1]
    if isinstance(error, RuntimeError) and re.search("shape|size of tensor|sizes|channels", text) or "values to unpack" in text:
        said.append("self.spec.shape is the shape of an example: build networks from it")
    return f"{text} ({'; '.join(said)})" if said else text
