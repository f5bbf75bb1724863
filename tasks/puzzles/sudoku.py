"""Sudoku: boards as sequences of tokens, of which several cells are filled at a time.

A board of side s has the numbers 1 to s (tokens 0 to s - 1) once in each row, column and box. Methods are trained on whole boards.

* Smoke and lite: side 4, of whose 288 boards a permutation that belongs to the task takes 200 for training (drawn with replacement), 24 for
  validation and 64 for tests. Full: side 9, of boards that come from one by renaming numbers and permuting bands, stacks, and rows and
  columns within them: 11,287,019,520, of which those of training, validation and test are different draws.
* ``solved_share/ORDER-eN``: share of ``n_test`` puzzles, ``given`` cells of a test board each, that N evaluations of the network fill by
  the rules. A puzzle may have several solutions, and any counts. ORDER is what is filled first: ``top``, the most probable cells, or
  ``margin``, those whose first number is furthest ahead of the second (Kim et al. 2025).
* ``valid_share/ORDER-eN``: the same of ``samples`` boards of which nothing is given.
* Options are chosen by ``solved_share/margin-e5`` of puzzles of validation boards. The last epoch's weights are judged.

Evidence: 0 or 1 for each puzzle and each board, and way.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor

from elboard.bench.card import TaskCard
from elboard.bench.errors import UserError
from elboard.bench.evidence import Examples, Sets
from elboard.bench.kinds.text import Order, TokenSpec
from elboard.bench.options import Count, Range
from elboard.bench.task import Data, Observed, Task, Test

CARD = TaskCard(
    name="puzzles/sudoku",
    title="Sudoku, several cells at a time",
    needs=("TokenFiller",),
    primary="solved_share/margin-e5",
    metrics=(
        "solved_share/margin-e5", "solved_share/margin-e10", "solved_share/top-e5", "solved_share/top-e10",
        "valid_share/margin-e5", "valid_share/margin-e10", "valid_share/top-e5", "valid_share/top-e10",
    ),
    selection="solved_share/margin-e5",
    papers=("023",),
    full="side 9 and 5, 10 and 20 evaluations, as the paper; boards of one class of symmetry, and puzzles of 32 cells",
    work={"lite": (12_800, 68_000), "full": (48_000, 140_000)},
    examples={
        "smoke": {"solved_share/*": "100 puzzles", "valid_share/*": "40 samples"},
        "lite": {"solved_share/*": "1,000 puzzles", "valid_share/*": "1,000 samples"},
        "full": {"solved_share/*": "1,000 puzzles", "valid_share/*": "1,000 samples"},
    },
)  # fmt: skip
BUDGETS = {
    "smoke": {
        "train": {"epochs": 2, "batch_size": 64, "keep": "last"},
        "method": {"width": 16, "depth": 1, "heads": 2},
        "task": {"given": 14, "n_train": 256, "n_valid": 40, "n_test": 100, "samples": 40},
    },
    "lite": {"train": {"epochs": 8, "batch_size": 64, "keep": "last", "validate_every": 0}},
    "full": {
        "train": {"epochs": 100, "batch_size": 128, "keep": "last", "validate_every": 20},
        "method": {"width": 192, "depth": 6, "heads": 6, "dropout": 0.1},
        "task": {"side": 9, "given": 32, "n_train": 48_000, "steps": [5, 10, 20]},
    },
}
PARTS = {"train": (0, 200), "valid": (200, 224), "test": (224, 288)}  # of the boards of side 4
ORDERS = ("top", "margin")
assert set(ORDERS) <= set(get_args(Order))


class Sudoku(Task):
    """See the module."""

    sets: ClassVar[Sets] = {
        "puzzles": Examples(("solved",), ("solved_share/*",)),
        "boards": Examples(("valid",), ("valid_share/*",)),
    }

    @dataclass(kw_only=True)
    class Config(Task.Config):
        side: Annotated[int, Range(4, 9)] = 4  # 4 or 9
        given: Count = 6  # cells of a puzzle
        n_train: Count = 12_800
        n_valid: Count = 200
        n_test: Count = 1000
        samples: Count = 1000
        steps: list[Count] = field(default_factory=lambda: [2, 5, 10])

    def boards(self, part: str, n: int) -> Tensor:
        """``n`` boards of a part, int64 (n, side^2), with replacement."""
        rng = np.random.default_rng([23, *part.encode()])
        if self.config.side == 9:
            return torch.from_numpy(shuffled_boards(n, rng))
        mine = all_boards()[np.random.default_rng(23).permutation(288)[slice(*PARTS[part])]]
        return torch.from_numpy(mine[rng.integers(len(mine), size=n)])

    def puzzles(self, x: Tensor) -> Tensor:
        """``x`` of which ``given`` cells are left, others masked."""
        hidden = torch.rand(x.shape, generator=torch.Generator().manual_seed(23)).argsort(1).argsort(1) >= self.config.given
        return torch.where(hidden, self.config.side, x)

    def load_train(self) -> Data:
        c = self.config
        if c.side not in (4, 9):
            raise UserError(f"side={c.side} is neither 4 nor 9")
        train, valid = self.boards("train", c.n_train), self.boards("valid", c.n_valid)
        return Data(TokenSpec((c.side**2,), c.n_train, letters=c.side), {"x": train}, {"x": valid})

    def load_test(self, data: Data) -> Test:
        return {"x": self.boards("test", self.config.n_test)}

    def _solved(self, method: Any, z: Tensor, steps: int, order: Order) -> np.ndarray:
        """Of each puzzle of ``z``, uint8 (N,), whether it is filled by the rules and keeps what was given."""
        found = method.fill(z.to(self.device), steps, order).cpu()
        kept = ((found == z) | (z == self.config.side)).all(1)
        return (obeys(found, self.config.side) & kept).numpy().astype(np.uint8)

    def validate(self, method: Any, data: Data) -> dict[str, float]:
        return {CARD.selection: float(self._solved(method, self.puzzles(data.valid["x"]), 5, "margin").mean())}

    def observe(self, method: Any, data: Data, test: Test, history: list[dict[str, float]]) -> Observed:
        c = self.config
        asked = {"solved": self.puzzles(test["x"]), "valid": torch.full((c.samples, c.side**2), c.side)}
        ways = [*itertools.product(ORDERS, c.steps)]
        arrays = {name: np.stack([self._solved(method, z, steps, order) for order, steps in ways], 1) for name, z in asked.items()}
        return Observed(arrays | {"steps": np.array(c.steps)})

    @classmethod
    def measure(cls, observed: Mapping[str, np.ndarray], asked: Collection[str] | None) -> dict[str, float]:
        ways = [f"{order}-e{steps}" for order, steps in itertools.product(ORDERS, observed["steps"].tolist())]
        found = {}
        for name in ("solved", "valid"):
            shares = observed[name].mean(0, dtype=np.float64)
            found |= {f"{name}_share/{way}": float(share) for way, share in zip(ways, shares, strict=True)}
        return found


def groups(side: int) -> np.ndarray:
    """The cells of each row, column and box, (3 side, side)."""
    cells, box = np.arange(side * side).reshape(side, side), round(side**0.5)
    boxes = cells.reshape(box, box, box, box).swapaxes(1, 2).reshape(side, side)
    return np.concatenate([cells, cells.T, boxes])


def obeys(x: Tensor, side: int) -> Tensor:
    """Whether each group of each board ``x`` (N, side^2) has every number once, (N,)."""
    return (x[:, torch.from_numpy(groups(side))].sort(2).values == torch.arange(side)).all((1, 2))


def all_boards() -> np.ndarray:
    """The 288 boards of side 4, int64 (288, 16), in the order of their rows."""
    rows = np.array(list(itertools.permutations(range(4))))
    pairs = np.array([(a, b) for a in range(24) for b in range(24)])
    bands = rows[pairs].reshape(-1, 8)  # two rows, whose boxes are looked at first
    bands = bands[[all(len({*band[[i, i + 1, i + 4, i + 5]]}) == 4 for i in (0, 2)) for band in bands]]
    x = np.concatenate([bands.repeat(len(bands), 0), np.tile(bands, (len(bands), 1))], 1)
    return x[obeys(torch.from_numpy(x), 4).numpy()].astype(np.int64)


def shuffled_boards(n: int, rng: np.random.Generator) -> np.ndarray:
    """``n`` boards of side 9, int64 (n, 81): one of them with its numbers renamed, and its bands, stacks, rows and columns permuted."""
    row, column = np.indices((9, 9))
    one = (3 * (row % 3) + row // 3 + column) % 9

    def lines() -> np.ndarray:
        bands = rng.random((n, 3)).argsort(1)
        return (3 * bands[:, :, None] + rng.random((n, 3, 3)).argsort(2)).reshape(n, 9)

    boards = one[lines()[:, :, None], lines()[:, None, :]].reshape(n, 81)
    return np.take_along_axis(rng.random((n, 9)).argsort(1), boards, 1).astype(np.int64)
