"""Where objects lead: the tensors and arrays that a method can come to from what it was handed, and whether test data are among them."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

SKIPPED = (types.ModuleType, types.FrameType, type, str, bytes, int, float, complex)  # a frame leads to callers, which code may always do
Array = torch.Tensor | np.ndarray


def reached(*roots: object) -> list[Array]:
    """The tensors and arrays to which ``roots`` lead: attributes, items, closures, bound objects and what views are of, to any depth.

    Not through modules, their globals and types: what can be imported leads everywhere.
    """
    skipped = {id(vars(module)) for module in list(sys.modules.values()) if isinstance(module, types.ModuleType)}
    seen: dict[int, object] = {}
    found, left = [], list(roots)
    while left:
        one = left.pop()
        if id(one) in seen or id(one) in skipped or isinstance(one, SKIPPED):
            continue
        seen[id(one)] = one  # kept, so that no other object takes its place
        left += gc.get_referents(one)
        if isinstance(one, weakref.ref):
            left.append(one())
        if isinstance(one, torch.Tensor | np.ndarray):
            found.append(one)
            left.append(one._base if isinstance(one, torch.Tensor) else one.base)
    return found


def leaves(of: Any, name: str = "test") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of test data, by name."""
    if isinstance(of, dict):
        for key, value in of.items():
            yield from leaves(value, f"{name}.{key}")
    elif isinstance(of, torch.Tensor):
        yield name, of


def _rows(array: np.ndarray, width: int) -> set[bytes]:
    """Rows of ``width`` bytes."""
    content = np.ascontiguousarray(array).tobytes()
    return {content[i : i + width] for i in range(0, len(content) // width * width, width)}


def _whole(one: Array) -> np.ndarray:
    """All the memory that ``one`` is a view of, as a flat array of its type."""
    if isinstance(one, np.ndarray):
        while isinstance(one.base, np.ndarray):
            one = one.base
        return one.reshape(-1)
    storage = one.detach().cpu().untyped_storage()
    flat = torch.empty(0, dtype=one.dtype).set_(storage, 0, (storage.nbytes() // one.element_size(),))
    return flat.view(torch.uint8).numpy() if one.dtype == torch.bfloat16 else flat.numpy()


def leaks(found: list[Array], data: Any, test: Any) -> list[str]:
    """What of the ``test`` data of a task is in what was ``found``, ``data`` being what methods may see: a line each."""
    said = []
    known = [part.numpy() for split in (data.train, data.valid, data.shared) for part in split.values()]
    for name, tensor in leaves(test):
        secret = tensor.numpy()
        width = secret[0].nbytes
        allowed = set().union(*(_rows(part, width) for part in known if part.dtype == secret.dtype and part.shape[1:] == secret.shape[1:]))
        rows = _rows(secret, width) - allowed if secret.ndim > 1 else set()
        for one in found:
            shape, same = tuple(one.shape), str(one.dtype).split(".")[-1] == str(secret.dtype)
            if not same or shape[1:] != secret.shape[1:] or not shape:
                continue
            if shape == secret.shape and np.array_equal(one.detach().cpu().numpy() if isinstance(one, torch.Tensor) else one, secret):
                said.append(f"{name} itself")
            elif rows & _rows(_whole(one), width):
                said.append(f"rows of {name} in the memory of a {shape}")
    images = [tuple(one.shape) for one in found if str(one.dtype).endswith("uint8") and len(one.shape) > 2]
    return said + [f"raw images {shape}" for shape in images]
