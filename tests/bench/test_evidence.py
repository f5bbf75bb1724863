"""Evidence cut to a stated subset: what is kept, which keys it gives, and that no bare name ever means them."""

from __future__ import annotations

import numpy as np
import pytest

from elboard.bench import evidence
from elboard.bench.evidence import Examples, cut, number
from elboard.bench.metrics.conventions import of_examples, whole

LIMIT = 100 * 1024
SETS = {
    "train": Examples(arrays=("train_*",), metrics=("memorised",)),
    "test": Examples(arrays=("p", "y"), metrics=("accuracy", "*/near")),
}


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "LIMIT", LIMIT)


def arrays(n: int, trained: int = 100) -> dict[str, np.ndarray]:
    """28 bytes a test image, 8 a training label."""
    p = np.arange(n * 3, dtype=np.float64).reshape(n, 3)
    return {"p": p, "y": np.arange(n, dtype=np.float32), "train_y": np.arange(trained), "k": np.array(5)}


def test_what_fits_stays_whole() -> None:
    given = arrays(3000)
    assert sum(array.nbytes for array in given.values()) < LIMIT
    kept = cut(SETS, given)
    assert set(kept) == set(given) and all(kept[name] is given[name] for name in given) and number(SETS, "accuracy", kept) == 0


def test_the_largest_set_is_cut_to_evenly_spaced_examples() -> None:
    given = arrays(10_000)
    kept = cut(SETS, given)
    assert kept["kept_test"].tolist() == [3000, 10_000] and "kept_train" not in kept and len(kept["train_y"]) == 100
    assert kept["y"].tolist() == [i * 10_000 // 3000 for i in range(3000)] and np.array_equal(kept["p"][:, 0], kept["y"] * 3)
    assert LIMIT // 2 < sum(array.nbytes for array in kept.values()) <= LIMIT
    assert number(SETS, "accuracy", kept) == number(SETS, "auroc/near", kept) == 3000
    assert number(SETS, "memorised", kept) == number(SETS, "auroc/far", kept) == 0
    both = cut(SETS, arrays(3000, 20_000))  # 84 kB and 160 kB: labels to 10,000, then to 9,000, then images
    assert both["kept_train"].tolist()[0] * 8 + both["kept_test"].tolist()[0] * 28 <= LIMIT


@pytest.mark.parametrize("n", [5000, 9999, 12_345, 70_001, 999_999])
def test_the_subset_has_one_significant_digit_and_more_than_half_of_the_room(n: int) -> None:
    kept = cut(SETS, arrays(n, 0))
    assert str(kept["kept_test"][0]).rstrip("0") in "123456789"
    assert LIMIT // 2 < sum(array.nbytes for array in kept.values()) <= LIMIT


def test_sets_that_are_compared_keep_as_many_of_each() -> None:
    sets = {"images": Examples(arrays=("score_*",), metrics=("*",))}
    kept = cut(sets, {"score_id": np.arange(30_000.0), "score_far": np.arange(4000.0)})
    assert kept["kept_images"].tolist() == [8000, 30_000] and len(kept["score_far"]) == 4000 and len(kept["score_id"]) == 8000


def test_large_statistics_are_left_out() -> None:
    kept = cut(SETS, {**arrays(3000), "covariance": np.eye(90), "mean": np.zeros(90)})
    assert "covariance" not in kept and {"mean", "k", "p"} <= set(kept) and "kept_test" not in kept
    assert "covariance" in cut(SETS, {**arrays(1000), "covariance": np.eye(70)})
    assert set(cut({}, {"all": np.zeros(10**6), "k": np.array(1)})) == {"k"}


@pytest.mark.parametrize(
    "change", [{"kept_test": np.array([2000, 10_000])}, {"kept_test": np.array([3000, 3000])}, {"p": np.zeros((3000, 1))}]
)
def test_a_subset_that_is_not_what_the_limit_gives_is_no_evidence(change: dict[str, np.ndarray]) -> None:
    kept = cut(SETS, arrays(10_000))
    with pytest.raises(ValueError, match="kept_test says"):
        number(SETS, "accuracy", {**kept, **change})


@pytest.mark.parametrize("room", [LIMIT // 2 + 1, LIMIT - 100, LIMIT // 2 - 28])
def test_arrays_of_no_set_make_no_room_for_a_chosen_few(room: int) -> None:
    """A submitter who keeps the examples that suit the claim, and fills the rest."""
    few = {name: array[:2] if name in "py" else array for name, array in arrays(10_000).items()}
    with pytest.raises(ValueError, match="kept_test says"):
        number(SETS, "accuracy", {**few, "kept_test": np.array([2, 10_000]), "filling": np.zeros(room, np.uint8)})


def test_keys_state_the_number_of_examples() -> None:
    keys = {"accuracy": "accuracy[n=4]", "auroc/near": "auroc[n=4]/near", "ndcg@100": "ndcg@100[n=4]", "nll[k=5]": "nll[k=5,n=4]"}
    assert {key: of_examples(key, 4) for key in keys} == keys
    assert of_examples("nll[k=5,n=9]", 4) == "nll[k=5,n=4]" and of_examples("nll[k=5,n=9]") == "nll[k=5]"
    assert {of_examples(key) for key in keys.values()} == set(keys)


def test_whole_keys_are_those_of_all_examples() -> None:
    keys = ("accuracy", "accuracy[n=4]", "auroc/near", "nll[k=5,n=9]", "nll[k=5,n=40]", "nll[k=6,n=9]", "fd[net,n=7]", "ece[n=4]")
    assert whole(keys) == ("accuracy", "auroc/near", "nll[k=5,n=40]", "nll[k=6,n=9]", "fd[net,n=7]")
    assert whole(("elbo[n=400]", "elbo[n=1000]", "mse[n=9]")) == ("elbo[n=1000]", "mse[n=9]"), "of metrics that are counted"
    assert whole(("elbo[n=400]", "elbo")) == ("elbo",)
    assert whole(("nll[k=5]", "nll[k=5,n=100]")) == ("nll[k=5]",)
