"""A process that has imported what tests import from outside of this repository, and forks for each test: python warm.py

Reads a line of JSON for each run, {"folder": ..., "tests": [...]}, and answers with a line: pytest's exit code.
"""

from __future__ import annotations

import json
import os
import sys

import hypothesis  # noqa: F401
import numpy  # noqa: F401
import pytest
import pytorch_lightning  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
import torchmetrics  # noqa: F401


def outcome(folder: str, tests: list[str]) -> int:
    """pytest's exit code in a process of its own, whose modules of this repository are those of ``folder``."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os.chdir(folder)
        sys.path.insert(0, folder)
        os._exit(int(pytest.main(["-x", "-p", "no:cacheprovider", *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(outcome(**json.loads(line)), flush=True)
