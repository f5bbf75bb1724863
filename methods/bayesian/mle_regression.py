"""Maximum likelihood with Gaussian noise: the point estimate that Bayesian regressors are compared with.

    L = (1/B) sum_i -log N(y_i; f_theta(x_i), s^2),      p(y | x) = N(f_theta(x), s^2)

The noise s is one number, learned with the weights: the predictive is as wide where there were no examples as where there were many. The
variance that maximises the likelihood is the mean squared error on the training examples.
"""

from __future__ import annotations

from elboard.bench.card import MethodCard
from elboard.methods.parts.regressor import RegressionMethod

CARD = MethodCard(
    name="mle-regression",
    title="Maximum likelihood with Gaussian noise of one variance",
    family="bayesian",
    home="regression/gap",
    cite="textbook; Bishop 2006, section 5.2",
    splits=True,
    defaults="convention",
)


class MLERegression(RegressionMethod):
    """The shared network, unchanged."""
