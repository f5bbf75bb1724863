"""How long the longest chain of operations is that wait for each other: what is left of the time where enough is computed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _storages(of: Any) -> set[StorageWeakRef]:
    """Kept without their numbers: an address is not given away again, so that no later storage is taken for one that is gone."""
    return {StorageWeakRef(leaf.untyped_storage()) for leaf in tree_leaves(of) if isinstance(leaf, Tensor)}


def _changed(function: Any, words: Any, more: Any) -> set[StorageWeakRef]:
    """What ``function`` writes in place, whether it returns it or not."""
    places = [(i, of.name) for i, of in enumerate(function._schema.arguments) if of.alias_info is not None and of.alias_info.is_write]
    return _storages([words[i] if i < len(words) else more.get(name) for i, name in places])


class _Chains(TorchDispatchMode):
    """The depth of each storage: 1 more than the deepest one that was read when it was last written.

    What Python was told of a tensor (``item``, and with it each branch) all that follows waits for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth: dict[StorageWeakRef, int] = {}
        self.told = self.longest = 0

    def __torch_dispatch__(self, function: Any, types: Any, words: Any = (), more: Any = None) -> Any:
        more = more or {}
        out = function(*words, **more)
        read, changed, found = _storages((words, more)), _changed(function, words, more), _storages(out)
        depth = 1 + max((self.told, *(self.depth.get(of, 0) for of in read)))
        written = (found - read) | changed  # a view is no work
        self.depth |= dict.fromkeys(written, depth)
        if read and not found | changed:
            self.told = depth
        if written or self.told == depth:
            self.longest = max(self.longest, depth)
        return out


@contextmanager
def _without_fused_layers() -> Iterator[None]:
    """Within, recurrent layers take their steps one by one instead of as one call to a library."""
    libraries = torch.backends.mkldnn, torch.backends.cudnn
    kept = [library.enabled for library in libraries]
    try:
        for library in libraries:
            library.enabled = False
        yield
    finally:
        for library, enabled in zip(libraries, kept, strict=True):
            library.enabled = enabled


def depth_of(function: Callable[[], Any]) -> int:
    """Operations on tensors in the longest chain of ``function()``; views are none, and each other one counts as one however large it is.

    Recurrent layers of PyTorch are followed step by step, though a library may do them in one call. What goes through NumPy, or through
    a kernel of a method's own, is not followed.
    """
    with torch.no_grad(), _without_fused_layers(), _Chains() as chains:
        function()
    return chains.longest
