"""What a run of anybody's code must leave of its process as it was, for the next run to be what it would be alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch

import elboard.bench

NAMES = (  # of modules whose functions and classes all runs use; those of ours too
    "builtins", "math", "numpy", "os", "pytorch_lightning", "random", "time", "torch", "torch.distributions", "torch.nn",
    "torch.nn.functional", "torch.optim",
)  # fmt: skip
OURS = "elboard."
PASSED = ("__warningregistry__", "__annotations__", "__doc__", "_abc_impl", "card")  # what Python, and loading a class, set themselves


class State:
    """The process as it is now: types, gradients, folder, permissions of files, signals, threads, and the functions that others use."""

    def __init__(self) -> None:
        self.settings = _settings()
        self.threads = {*threading.enumerate()}
        self.names = {(id(of), name): (of, name, value) for of in _namespaces() for name, value in vars(of).items() if name not in PASSED}

    def changed(self) -> list[str]:
        """What is not as it was, in words."""
        now, found = _settings(), []
        found += [name for name, value in self.settings.items() if now[name] != value]
        found += ["a thread that stays" for thread in threading.enumerate() if thread not in self.threads][:1]
        return found + [f"{getattr(of, '__name__', of)}.{name}" for of, name, _ in self._patched()]

    def restore(self) -> None:
        """Put back what can be."""
        torch.set_default_dtype(self.settings["torch's default type"])
        torch.set_grad_enabled(self.settings["whether gradients are on"])
        os.umask(self.settings["the permissions of new files"])
        if self.settings["the working folder"]:
            os.chdir(self.settings["the working folder"])
        for of, name, value in self._patched():
            setattr(of, name, value)

    def _patched(self) -> list[tuple[Any, str, Any]]:
        found = [(of, name, value) for of, name, value in self.names.values() if vars(of).get(name) is not value]
        return [(of, name, value) for of, name, value in found if not _libraries(vars(of).get(name))]


def _libraries(value: Any) -> bool:
    """Whether it is a function that torch, Lightning or this package put in the place of another, as they do when they are first used."""
    file = getattr(getattr(value, "__code__", None), "co_filename", "")
    return file.startswith(tuple(str(Path(module.__file__).parent) + os.sep for module in (torch, pytorch_lightning, elboard.bench)))


def _settings() -> dict[str, Any]:
    mask = os.umask(0)
    os.umask(mask)
    return {
        "torch's default type": torch.get_default_dtype(),
        "whether gradients are on": torch.is_grad_enabled(),
        "the working folder": _folder(),
        "the permissions of new files": mask,
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)],
    }


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _namespaces() -> list[Any]:
    """The modules, and their classes."""
    modules = [module for name, module in list(sys.modules.items()) if name in NAMES or name.startswith(OURS)]
    classes = {id(value): value for module in modules for value in list(vars(module).values()) if isinstance(value, type)}
    return [*modules, *classes.values()]
