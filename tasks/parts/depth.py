"""How long the longest chain of operations is that wait for each other: what is left of the time where enough is computed at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Chains(TorchDispatchMode):
    """The depth of each storage: 1 more than the deepest one that was read when it was last written."""

    def __init__(self) -> None:
        super().__init__()
        self.depth: dict[int, int] = {}
        self.longest = 0

    def __torch_dispatch__(self, function: Any, types: Any, words: Any = (), more: Any = None) -> Any:
        out = function(*words, **(more or {}))
        read = {of.untyped_storage()._cdata for of in tree_leaves((words, more)) if isinstance(of, Tensor)}
        depth = 1 + max((self.depth.get(of, 0) for of in read), default=0)
        for of in (of.untyped_storage()._cdata for of in tree_leaves(out) if isinstance(of, Tensor)):
            if of not in read or function._schema.is_mutable:  # a view is no work; of a storage that is gone the address may be another's
                self.depth[of] = depth
                self.longest = max(self.longest, depth)
        return out


def depth_of(function: Callable[[], Any]) -> int:
    """Operations on tensors in the longest chain of ``function()``; views are none, and each other one counts as one however large it is
    and in whatever order it may go through its numbers."""
    with torch.no_grad(), _Chains() as chains:
        function()
    return chains.longest
