"""What post-hoc detectors are fitted to: few images, constant ones, classes that are missing, features of both signs, any order."""

from __future__ import annotations

import pytest
import torch
from detecting import SPEC, TEST, N, X, Y, base, fitted, scores
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.registry import discover
from elboard.methods.bayesian.softmax import Softmax
from elboard.methods.ood.ash import ASH
from elboard.methods.ood.base import PostHoc
from elboard.methods.ood.scale import SCALE
from elboard.methods.ood.vra import VRA
from elboard.methods.ood.vra_true import VRATrue

ALL = [cls for entry in discover("method").values() if entry.card.family == "ood" and issubclass(cls := entry.load(), PostHoc)]


class Signed(Softmax):
    """Features of both signs."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) - 0.5


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.parametrize(
    "x",
    [X[:1], X[:2], X[:1].expand(9, -1, -1, -1), torch.zeros_like(X[:3]), X[Y != 3]],
    ids=["one", "two", "constant", "black", "without a class"],
)
def test_whatever_they_are_fitted_to_scores_are_finite(cls: type, x: Tensor) -> None:
    method = fitted(cls, base().float(), x.float(), Y[Y != 3][: len(x)])
    assert scores(method, TEST.float()).isfinite().all() and all(of.isfinite().any() for of in method.buffers())


@pytest.mark.parametrize("cls", ALL)
def test_features_of_both_signs_are_scored_or_refused(cls: type) -> None:
    of = base()
    of.__class__ = Signed
    if cls in (ASH, SCALE, VRA, VRATrue):
        with pytest.raises(UserError, match="non-negative"):
            fitted(cls, of)
        return
    found = scores(fitted(cls, of))
    assert found.isfinite().all() and found[:30].mean() < found[30:].mean()


@pytest.mark.parametrize("cls", ALL)
def test_the_order_of_images_is_nothing(cls: type) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    method, again = fitted(cls), fitted(cls, x=X[order], y=Y[order])
    torch.testing.assert_close(scores(again), scores(method))
    torch.testing.assert_close(scores(method, TEST.flip(0)).flip(0), scores(method))


@pytest.mark.parametrize("cls", ALL)
def test_in_single_precision_they_are_the_same(cls: type) -> None:
    """As runs have it, and through a checkpoint."""
    method, of = fitted(cls), base().float()
    again = cls(cls.Config(), SPEC, {"classifier": of})
    again.load_state_dict(method.float().state_dict())
    expected = scores(fitted(cls))
    assert torch.equal(again.predict(TEST.float()), of.predict(TEST.float()))
    torch.testing.assert_close(scores(again, TEST.float()).double(), expected, rtol=1e-4, atol=1e-5)
    assert not list(again.parameters())


@pytest.mark.parametrize("cls", ALL)
def test_scores_are_of_each_image_alone(cls: type) -> None:
    method = fitted(cls)
    one_by_one = torch.cat([scores(method, x[None]) for x in TEST[::10]])
    torch.testing.assert_close(scores(method)[::10], one_by_one)
    assert one_by_one.shape == (6,)
