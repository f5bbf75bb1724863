"""The digits of noisy/digits-sym40 with four draws of the noise: needs no download at any budget.

1,000 training, 300 validation and 497 test images; 40 % of the labels of each draw are wrong in expectation.
"""

from __future__ import annotations

from elboard.bench.card import TaskCard
from elboard.tasks.noisy.digits_sym40 import DigitsSym40
from elboard.tasks.noisy.redrawn import Redrawn

CARD = TaskCard(
    name="noisy/digits-redrawn",
    title="Digits 8x8, four draws of 40 % wrong labels",
    needs=("NoiseDraws",),
    primary="draw_brier",
    metrics=("draw_brier", "draw_variance", "draw_bias", "accuracy"),
    selection="accuracy",
    data=("digits",),
    papers=("013",),
    full="the data of lite for 200 instead of 60 epochs; no paper's own setting",
    work={"lite": (1000, 1988), "full": (1000, 1988)},
    examples={"smoke": {"*": 497}, "lite": {"*": 497}, "full": {"*": 497}},
)
BUDGETS = {
    "smoke": {"train": {"epochs": 10, "batch_size": 32}, "task": {"n_train": 256, "n_valid": 128}},
    "lite": {"train": {"epochs": 60, "batch_size": 32}, "task": {"n_valid": 300}},
    "full": {"train": {"epochs": 200, "batch_size": 32}, "task": {"n_valid": 300}},
}


class DigitsRedrawn(Redrawn):
    shape, levels = DigitsSym40.shape, DigitsSym40.levels
    noise_rate, transition = DigitsSym40.noise_rate, DigitsSym40.transition
    read = stand_in = DigitsSym40.read
