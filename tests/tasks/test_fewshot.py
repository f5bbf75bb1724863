"""Episodes: no class of a test is trained on, no drawing is asked for that is known, all methods have the same ones, metrics by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from loading import loaded
from torch import Tensor

from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import in_range
from elboard.bench.registry import find
from elboard.tasks.data import fetch
from elboard.tasks.fewshot import omniglot
from elboard.tasks.fewshot.omniglot import FewShotOmniglot, draw_episodes, turned_digits


def made(budget: str = "smoke", **options: Any) -> FewShotOmniglot:
    entry = find("task", "fewshot/omniglot")
    return entry.load()(FewShotOmniglot.Config(**{**entry.budgets()[budget].get("task", {}), **options}), budget, 0)


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> FewShotOmniglot:
    """The task of lite on drawings that say their character, their number and which way is up, in four pixels of 28 x 28."""
    x = np.zeros((242, 20, 28, 28), np.uint8)
    x[..., 0, 0], x[..., 0, 1], x[..., 0, 27] = np.arange(242)[:, None], np.arange(20), 255
    monkeypatch.setattr(omniglot, "omniglot", lambda: x)
    return made("lite", shrink=1, n_classes=142)


def said(x: Tensor) -> Tensor:
    """The characters of upright drawings."""
    return (x[..., 0, 0, 0] * 255).round().long()


class Telling:
    """Knows the character of marked drawings, ``wrong`` of those of even number."""

    def __init__(self, wrong: bool = False):
        self.wrong, self.seen = wrong, []

    def class_log_probabilities(self, support: Tensor, query: Tensor) -> Tensor:
        self.seen.append((support, query))
        same = (said(query)[..., None] == said(support)[:, None, :, 0]).double()
        if self.wrong:
            even = ((query[..., 0, 0, 1] * 255).round() % 2 == 0)[..., None]
            same = torch.where(even, 1 - same, same)
        return (same * 8).log_softmax(-1)


def test_no_class_is_in_two_parts(marked: FewShotOmniglot) -> None:
    data, test = loaded(marked)
    parts = [{*said(x).flatten().tolist()} for x in (data.train["x"], data.valid["x"], test["x"])]
    assert [len(part) for part in parts] == [142, 40, 60] and len(set.union(*parts)) == 242
    few = said(made("lite", shrink=1).load_train().train["x"])
    assert torch.equal(few, said(data.train["x"])[:12]), "few classes are the first of many"
    assert data.spec.n_classes == 142 and data.spec.shape == (1, 28, 28) and data.spec.n_train == 400 * 5 * (1 + 5)


def test_beyond_the_upright_classes_they_are_turned(marked: FewShotOmniglot) -> None:
    marked.config.n_classes = 300
    x = marked.load_train().train["x"]
    assert x.shape == (300, 20, 1, 28, 28)
    for turn in (1, 2):
        back = torch.rot90(x[142 * turn : 142 * (turn + 1)], -turn, (3, 4))
        assert torch.equal(back, x[: len(back)])
    marked.config.n_classes = 4 * 142 + 1
    with pytest.raises(UserError, match=r"task\.n_classes=569.* has 568"):
        marked.load_train()


def test_nothing_is_twice_in_an_episode() -> None:
    of, drawings = draw_episodes(300, 7, 20, torch.Generator().manual_seed(0))
    assert of.shape == (300, 5) and drawings.shape == (300, 5, 20)
    assert all(len(set(row)) == 5 for row in of.tolist()) and (drawings.sort(2).values == torch.arange(20)).all()
    assert of.flatten().bincount(minlength=7).min() > 150, "each class is drawn as often"


def test_training_episodes_are_of_rows_of_classes(marked: FewShotOmniglot) -> None:
    data = marked.load_train()
    batches = marked.batches(data, {"batch_size": 4}, 0)
    first, again = next(iter(batches)), next(iter(batches))
    assert len(batches) == 100 and all(torch.equal(first[name], again[name]) for name in first)
    assert first["support"].shape == (4, 5, 1, 1, 28, 28) and first["query"].shape == (4, 5, 5, 1, 28, 28)
    assert (said(first["query"]) == said(first["support"])).all()
    numbers = torch.cat([first[name][..., 0, 0, 1] for name in ("support", "query")], dim=2)
    assert all(len(set(row)) == 6 for row in numbers.flatten(0, 1).tolist())


def test_an_epoch_may_be_one_batch(marked: FewShotOmniglot) -> None:
    marked.config.episodes = 6
    data = marked.load_train()
    for size, steps in ((0, 1), (4, 2)):
        batches = marked.batches(data, {"batch_size": size}, 0)
        assert [len(batch["query"]) for batch in batches] == steps * [size or 6]


def test_test_episodes_are_the_same_for_all_and_hide_the_order(marked: FewShotOmniglot) -> None:
    data, test = loaded(marked)
    one, two = Telling(), Telling()
    for method in (one, two):
        torch.rand(3)
        marked.observe(method, data, test, [])
    assert all(torch.equal(a, b) for first, second in zip(one.seen, two.seen, strict=True) for a, b in zip(first, second, strict=True))
    half = len(one.seen) // 2
    for (single, asked), (five, again) in zip(one.seen[:half], one.seen[half:], strict=True):
        assert torch.equal(single, five[:, :, :1]) and torch.equal(asked, again), "of the same queries"
        assert five.shape[1:3] == (5, 5) and asked.shape[1] == 75
        known, numbers = (torch.stack([said(x), (x[..., 0, 0, 1] * 255).round().long()], -1) for x in (five, asked))
        assert not {*map(tuple, known[0].flatten(0, 1).tolist())} & {*map(tuple, numbers[0].tolist())}
        assert not torch.equal(said(asked)[0], said(single)[0, :, 0].repeat_interleave(15))


def test_metrics_are_those_of_the_predictions(marked: FewShotOmniglot) -> None:
    data, test = loaded(marked)
    right = marked.measure(marked.observe(Telling(), data, test, []).arrays, None)
    p = np.exp(8) / (np.exp(8) + 4)
    assert right["accuracy/shot1"] == right["accuracy/shot5"] == 1 and right["episode_interval/shot1"] == 0
    assert right["class_nll/shot1"] == pytest.approx(-np.log(p), rel=1e-5)
    method = Telling(wrong=True)
    observed = marked.observe(method, data, test, [])
    odd = torch.cat([(query[..., 0, 0, 1] * 255).round() % 2 for _, query in method.seen[: len(method.seen) // 2]])
    found = marked.measure(observed.arrays, None)
    assert found["accuracy/shot1"] == pytest.approx(odd.double().mean().item(), rel=1e-12), "wrong of even ones"
    assert found["episode_interval/shot1"] == pytest.approx(1.96 * odd.double().mean(1).std().item() / 600**0.5, rel=1e-9)
    assert observed.arrays["right_shot1"].tolist() == odd.sum(1).tolist() and observed.arrays["right_shot1"].dtype == np.uint8
    assert marked.score(marked.compact(observed.arrays)) == found and all(in_range(name, value) for name, value in found.items())


def test_validation_is_of_classes_of_its_own(marked: FewShotOmniglot) -> None:
    data = marked.load_train()
    method = Telling(wrong=True)
    found = marked.validate(method, data)
    shown = {*said(torch.cat([query for _, query in method.seen])).flatten().tolist()}
    assert shown <= {*said(data.valid["x"]).flatten().tolist()} and 0.4 < found["accuracy/shot1"] < 0.6
    assert sum(len(query) for _, query in method.seen) == 100


def test_smoke_has_digits_of_four_turns_and_no_image_twice() -> None:
    x = turned_digits()
    assert x.shape == (40, 20, 28, 28)
    upright = np.concatenate([np.rot90(x[10 * turn : 10 * turn + 10], -turn, (2, 3)) for turn in range(4)])
    assert len(np.unique(upright.reshape(800, -1), axis=0)) == 800
    data, test = loaded(made())
    assert (len(data.train["x"]), len(data.valid["x"]), len(test["x"])) == (8, 6, 10) and data.spec.shape == (1, 14, 14)


def test_real_characters_are_as_many_as_is_said() -> None:
    if not fetch.available("omniglot"):
        pytest.skip("omniglot is neither cached nor in ELBOARD_DATA")
    data, test = loaded(made("lite"))
    assert (data.train["x"].shape, len(data.valid["x"]), len(test["x"])) == ((12, 20, 1, 14, 14), 40, 60)
    assert 0 <= data.train["x"].min() < 0.05 < data.train["x"].mean() < 0.3 and 0.9 < data.train["x"].max() <= 1
