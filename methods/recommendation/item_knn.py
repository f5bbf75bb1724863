"""Item-kNN, neighbourhoods of items (Sarwar, Karypis, Konstan and Riedl 2001; Deshpande and Karypis 2004).

    s_ij = n_ij / (sqrt(n_i n_j) + shrink),     scores_uj = sum of s_ij over the items i of the history that are among the k nearest of j

n_i users clicked i, n_ij both i and j: the cosine of two columns of clicks, drawn towards 0 where it rests on few of them by a constant in
the denominator as in RecBole (Bell and Koren 2007, who had the idea, multiply by n_ij / (n_ij + shrink)). k = 100 and no shrinkage are
RecBole's defaults.

Differences from the papers: neighbours are those of the item that is scored, as in Sarwar et al. and in RecBole, not those of the
history's items as in Deshpande and Karypis; similarities are not normalised to sum to 1, which they find best for some data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, NonNegative, Options
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender, cooccurrences, cosine, largest

CARD = MethodCard(
    name="item-knn",
    title="Nearest neighbours of items, cosine",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Sarwar et al. 2001; Deshpande and Karypis 2004",
    defaults="library",
)


class ItemKNN(ClosedFormRecommender):
    """Column j of ``weights`` holds the similarities of item j to its neighbours."""

    @dataclass(kw_only=True)
    class Config(Options):
        neighbours: Count = 100  # RecBole's k
        shrink: NonNegative = 0.0  # RecBole's

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (n_items, n_items)

    def fit(self, data: Data, training: Any) -> None:
        common = cooccurrences(data.train["x"])
        clicks = common.diagonal().clone()
        similarities = cosine(common, clicks, clicks, self.config.shrink).fill_diagonal_(0)
        self.weights = largest(similarities, self.config.neighbours).T.float().contiguous()

    def scores(self, history: Tensor) -> Tensor:
        return history @ self.weights
