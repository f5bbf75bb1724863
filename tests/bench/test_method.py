"""What the base class of methods does for all: the means of an epoch."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch

from elboard.bench.cost import flops_per_example
from elboard.bench.errors import NonFiniteLoss
from elboard.bench.kinds import DataSpec
from elboard.bench.method import Method, in_parts


def method() -> Method:
    return Method(Method.Config(), DataSpec((1,), 1))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_mean_of_a_constant_is_the_constant(kind: torch.dtype) -> None:
    """bool True three times gave 0.333, and a sum of ones in bfloat16 sticks at 256."""
    of = method()
    for _ in range(1000):
        of.accumulate({"loss": torch.tensor(1, dtype=kind), "half": torch.tensor(0.5)})
    assert of.epoch_means() == {"loss": 1.0, "half": 0.5}
    assert of.epoch_means() == {}


def test_half_precision_is_summed_in_single_and_double_stays_double() -> None:
    of, fine = method(), 1 + 2**-40
    for _ in range(4):
        of.accumulate({"a": torch.tensor(0.1, dtype=torch.bfloat16), "b": torch.tensor(fine, dtype=torch.float64), "c": torch.tensor(True)})
    sums = of.accumulated()["sums"]
    assert {name: value.dtype for name, value in sums.items()} == {"a": torch.float32, "b": torch.float64, "c": torch.float32}
    means = of.epoch_means()
    assert list(means) == ["a", "b", "c"] and means == {"a": float(torch.tensor(0.1, dtype=torch.bfloat16)), "b": fine, "c": 1.0}


def test_sums_go_on_after_a_checkpoint_as_they_were() -> None:
    of, again, whole = method(), method(), method()
    scalars = [{"loss": torch.tensor(x, dtype=torch.float64), "hit": torch.tensor(x > 0.5)} for x in (0.1, 0.7, 0.9)]
    for out in scalars:
        whole.accumulate(out)
    of.accumulate(scalars[0])
    file = io.BytesIO()
    torch.save(of.accumulated(), file)
    file.seek(0)
    again.restore_accumulated(torch.load(file, weights_only=True))
    for out in scalars[1:]:
        again.accumulate(out)
    assert again.epoch_means() == whole.epoch_means() == {"loss": pytest.approx(1.7 / 3, abs=1e-15), "hit": pytest.approx(2 / 3)}


def test_a_loss_that_is_no_number_is_said() -> None:
    of = method()
    of._trainer = type("Trainer", (), {"current_epoch": 4})()
    of.accumulate({"loss": torch.tensor(float("nan"))})
    with pytest.raises(NonFiniteLoss, match="loss is nan in epoch 4"):
        of.epoch_means()


def test_parts_of_a_batch_are_summed_in_single_precision() -> None:
    """Shares of a thousand ones: 1/1000 in bfloat16 is 1.6e-3 too large, and so was the sum."""
    found = in_parts(lambda part: {"hit": part["x"].mean().bfloat16()}, {"x": torch.ones(1000)}, 1000)
    assert found["hit"].dtype == torch.float32 and float(found["hit"]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda w: w, "Of.loss returned Parameter: wanted is a dict with 'loss'"),
        (lambda w: {"elbo": w.sum()}, "Of.loss returned a mapping of elbo: wanted is a dict with 'loss'"),
        (lambda w: {"loss": w}, r"Of.loss returned 'loss' as a tensor of shape \(3,\): wanted is a scalar tensor"),
        (lambda w: {"loss": 1.5}, "Of.loss returned 'loss' as float: wanted is a scalar tensor"),
        (lambda w: {"loss": w.sum(), "kl": 2}, "Of.loss returned 'kl' as int: wanted is a scalar tensor"),
        (lambda w: {"loss": w.detach().sum()}, "Of.loss returned a 'loss' without gradient: wanted is one computed from"),
    ],
)
def test_a_loss_of_the_wrong_kind_names_itself_and_what_is_wanted(returned: Callable, message: str) -> None:
    class Of(Method):
        def __init__(self) -> None:
            super().__init__(Method.Config(), DataSpec((1,), 1))
            self.weight = torch.nn.Parameter(torch.ones(3))

        def loss(self, batch: dict) -> dict:
            return returned(self.weight)

    for ask in (lambda: Of().training_step({}, 0), lambda: flops_per_example(Of(), {"x": torch.zeros(2, 1)})):
        with pytest.raises(TypeError, match=message):
            ask()
