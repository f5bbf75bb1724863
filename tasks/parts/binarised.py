"""MNIST, binarised anew each time that images are shown: what tasks of several families train on, with splits of ``generation/mnist``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elboard.bench.kinds.likelihood import LikelihoodSpec
from elboard.bench.options import Count
from elboard.bench.task import Data, Test
from elboard.tasks.data.loaders import mnist
from elboard.tasks.data.task import DataTask, images, permutation, stand_in
from elboard.tasks.parts.images import binarise


class BinarisedMNIST(DataTask):
    """Subclasses say what is measured. Validation and test images are binarised once; at smoke they are small digits."""

    @dataclass(kw_only=True)
    class Config(DataTask.Config):
        n_train: Count = 5000
        n_valid: Count = 500
        n_test: Count = 500

    def make_spec(self, shape: tuple[int, ...], n_train: int) -> LikelihoodSpec:
        return LikelihoodSpec(shape, n_train, likelihood="bernoulli")

    def _grey(self, split: str) -> Tensor:
        if self.budget == "smoke":
            return images(stand_in(split)[0])
        return images(mnist(split)[0])

    def load_train(self) -> Data:
        c, pool = self.config, self._grey("train")
        pool = pool[torch.from_numpy(permutation(len(pool), 1))]
        train, valid = pool[c.n_valid :][: c.n_train].clone(), pool[: c.n_valid]
        spec = self.make_spec(tuple(train.shape[1:]), len(train))
        return Data(spec, {"x": train}, binarise({"x": valid}, torch.Generator().manual_seed(0)), on_batch=binarise)

    def load_test(self, data: Data) -> Test:
        return binarise({"x": self._grey("test")[: self.config.n_test]}, torch.Generator().manual_seed(1))
