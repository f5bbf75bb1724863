"""WMF, weighted matrix factorisation of implicit feedback (Hu, Koren and Volinsky 2008), which is iALS.

    min_{U, V} sum_ui c_ui (x_ui - u_u . v_i)^2 + lambda (|U|^2 + |V|^2),     c_ui = 1 + alpha x_ui        (eq. 3)

by alternating least squares: with the items' factors V given, each user's are

    u_u = (V^T V + alpha sum_{i clicked} v_i v_i^T + lambda I)^-1 (1 + alpha) sum_{i clicked} v_i              (eq. 4)

and the same with users and items exchanged (eq. 5). A user that was not trained on is folded in by eq. 4; scores are u_u . v_i.

Rendle, Krichene, Zhang and Koren (2022) give rows with more clicks a larger penalty, with which iALS is on a par with later methods:

    lambda_u = lambda (sum_i c_ui)^nu = lambda (I + alpha |u|)^nu,     and the same of an item, with U for I;     nu = ``frequency``

nu = 0 is Hu et al.'s one penalty, nu = 1 that of a mean over what is summed. Rendle et al. write alpha_0 = 1 / alpha for the weight of what
was not clicked beside 1 for what was; scores then differ by the factor 1 + alpha_0, and lambda by one that is the same for all rows.

The options were the best on the validation users of version 1 of recommendation/ml-100k (seed 1000) of 36: 16 to 128 factors, alpha 2, 10
and 40, lambda 1, 10 and 50. They matter much: NDCG@100 was between 0.32 and 0.47.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from elboard.bench.card import MethodCard
from elboard.bench.options import Count, NonNegative, Options, Positive, Share
from elboard.bench.task import Data
from elboard.methods.recommendation.base import ClosedFormRecommender

CARD = MethodCard(
    name="wmf",
    title="Weighted matrix factorisation",
    family="recommendation",
    home="recommendation/ml-100k",
    cite="Hu, Koren and Volinsky 2008",
    aliases=("ials",),
    defaults={
        "trials": 36,
        "on": "recommendation/ml-100k@1",
        "by": "ndcg@100",
        "options": ("factors", "alpha", "lambda_"),
        "rest": "convention",
    },
)
AT_ONCE = 500  # systems solved together: bounds the memory


class WMF(ClosedFormRecommender):
    """Factors of the items; those of users are solved for when they are needed."""

    @dataclass(kw_only=True)
    class Config(Options):
        factors: Count = 64
        alpha: NonNegative = 10.0
        lambda_: Positive = 50.0
        iterations: Count = 15
        frequency: Share = 0.0  # nu; Rendle et al. 2022 recommend 1

    def shape(self, n_items: int) -> tuple[int, ...]:
        return (n_items, self.config.factors)

    def fit(self, data: Data, training: Any) -> None:
        x = data.train["x"].double()
        items = 0.01 * torch.randn(self.weights.shape, dtype=torch.float64)
        for _ in range(self.config.iterations):
            users = self.solve(x, items)
            items = self.solve(x.T, users)
        self.weights = items.float()

    def solve(self, x: Tensor, factors: Tensor) -> Tensor:
        """Eq. 4: the factors ``(n, K)`` of rows of clicks ``(n, m)``, those of the columns ``(m, K)`` being given."""
        c, k = self.config, factors.shape[1]
        identity = torch.eye(k, dtype=factors.dtype, device=factors.device)
        shared = factors.T @ factors + c.lambda_ * identity
        products = (factors[:, :, None] * factors[:, None]).flatten(1)  # v_i v_i^T in a row
        found = []
        for rows in x.to(factors.dtype).split(AT_ONCE):
            grams = shared + c.alpha * (rows @ products).unflatten(1, (k, k))
            if c.frequency:
                penalties = c.lambda_ * (rows.shape[1] + c.alpha * rows.sum(1)) ** c.frequency
                grams = grams + (penalties - c.lambda_)[:, None, None] * identity
            found.append(torch.linalg.solve(grams, (1 + c.alpha) * (rows @ factors)))
        return torch.cat(found)

    def scores(self, history: Tensor) -> Tensor:
        return self.solve(history, self.weights) @ self.weights.T
