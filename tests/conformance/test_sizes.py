"""What cards say of the size of budgets is what tasks do: examples of an epoch, passes of the evaluation, examples behind metrics."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from elboard.bench.config import resolve
from elboard.bench.registry import compatible, discover
from elboard.tasks.data.fetch import DataError

TASKS = discover("task")
REAL = [(task, budget) for task in sorted(TASKS) for budget in ("lite", "full") if budget in TASKS[task].budgets()]

LARGE = {"recommendation/ml-20m"}


def options(task: str, budget: str) -> dict[str, Any]:
    method = next(method for of, method in compatible() if of == task)
    return resolve(task, method, budget=budget).config["task"]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_each_task_says_what_full_is(task: str) -> None:
    card = TASKS[task].card
    assert card.full and set(card.work) == set(TASKS[task].budgets()) - {"smoke"} and set(card.examples) <= {"smoke", "lite", "full"}


@pytest.mark.parametrize(("task", "budget"), REAL)
def test_examples_of_an_epoch(task: str, budget: str) -> None:
    if task in LARGE:
        pytest.skip("takes 20 GB; tests/tasks/test_recommendation.py counts")
    cls = TASKS[task].load()
    made = cls(cls.Config(**options(task, budget)), budget, 0)
    load = getattr(made, "load_train", None) or made.load
    assert not [name for name, of in inspect.signature(load).parameters.items() if of.default is of.empty]
    try:
        data = load()
    except DataError as error:
        pytest.skip(str(error))
    assert TASKS[task].card.work[budget][0] == data.spec.n_train


OF_EACH = {  # passes of a test example, by family
    "disentanglement": 2,  # codes, and bounds
    "conditional": 2,  # bounds, and decoding samples
    "inpainting": 20 + 50 + 1,  # completions, codes of the likelihood, and bounds
    "anomaly": 3,  # scores, heat maps and reconstructions; explanations take as many as they have masks
    "artefacts": 2,  # encoding and decoding
    "reencoding": 1 + 10,  # samples, and decoding ten times
}


def _multimodal(c: dict[str, Any], modalities: int) -> int:
    return 2 * (2**modalities - 1) * c["n_test"] + (modalities + 1) * (c["n_test"] + c["n_valid"])


PASSES = {  # of the whole evaluation
    "dynamics/weak-order": lambda c: 2 * len(c["rates"]) * c["samples"],  # paths of two models
    "dynamics/digits": lambda c: c["samples"] * c["n_train"],  # gradients
    "mi/gaussian": lambda c: 64 * c["n_test"] * 2 * len(c["values"]),  # pairs, plain and cubed
    "mi/mnist": lambda c: 64 * c["n_test"] * (1 + 3 * len(c["rows"])),  # pairs of four tests
    "domains/rotated-mnist": lambda c: 2 * 5 * c["n_test"],  # probabilities and codes of images of all domains
    "domains/colored-mnist": lambda c: 2 * 4 * c["n_test"],
    "conditional/mnist14": lambda c: c["n_test"],  # samples; no likelihood
    "conditional/shapes-colours": lambda c: c["n_test"],
    "sampling/mnist14": lambda c: c["n_test"] * (c["reference"] + sum(c["evaluations"])),
    "sampling/fashion14": lambda c: c["samples"] * (c["reference"] + sum(c["evaluations"])),
    "sampling/mnist14-guidance": lambda c: c["n_test"] * c["evaluations"] * sum(1 if w == 1 else 2 for w in c["weights"]),
    "fewshot/omniglot": lambda c: c["n_test"] * 5 * (1 + 15 + 5 + 15),  # episodes with one and with five images of each class
    "text/shakespeare": lambda c: c["n_test"] * c["draws"] + c["samples"] * 64 * (c["length"] // 64),  # draws of the bound, and samples
    "latent/hierarchical-mixture": lambda c: c["n_test"],
    "latent/digits": lambda c: 397,
    "text/enumerated": lambda c: 2 * 81 * 16,  # predictors, sequences and sets of masks
    # samples at once, one by one, and by blocks in two and in four, and draws of the bound of ten sequences
    "tokens/dependent": lambda c: c["samples"] * (1 + 4 + 2 + 4) + 10 * c["draws"],
    "puzzles/sudoku": lambda c: (c["n_test"] + c["samples"]) * 2 * sum(c["steps"]),  # in two orders
    "tokens/mnist14": lambda c: c["samples"] * sum(c["steps"]) + c["n_bound"] * c["draws"],
    "sequences/mnist-rows": lambda c: c["samples"] + 3 * c["n_bound"],  # samples, likelihoods, completions and what these stand against
    "latents/fashion14": lambda c: c["samples"] * sum(c["steps"]) + 2 * c["n_test"] + c["n_labelled"],  # samples, images again, and probes
    "compression/linear": lambda c: 2 * 10,  # maps of all ranks
    "compression/mnist-zoo": lambda c: (1 + 10) * c["n_test"],  # each version of a population, at most ten beside the originals
    "compression/mnist": lambda c: 5 * c["n_test"],  # networks of all sizes
    "multimodal/toy": lambda c: 10,  # laws
    # samples jointly and given each set of modalities, bounds by all sets, codes by each modality and by all
    "multimodal/poly-digits": lambda c: _multimodal(c, c["modalities"]),
    "multimodal/digits": lambda c: _multimodal(c, 2),
}


def _passes_of_detection(task: str, c: dict[str, Any], of: dict[str, str], passes: int) -> None:
    sizes = [int(word.replace(",", "")) for word in of["*/*"].split() if word[0].isdigit()]
    least, most = min(sizes[1:] or sizes), max(sizes)
    n_sets = len(TASKS[task].load().foreign) + 2
    fixed = sizes[0] + c.get("n_samples", 0) * of.get("*", 0) + 2 * c["n_valid"]
    assert sizes[0] == of.get("*", sizes[0]) and fixed + n_sets * least <= passes <= fixed + n_sets * most, "draws, and scores of all sets"
    assert of["*/validation"] == f"{c['n_valid']:,} against {c['n_valid']:,}"


def _passes_of_sequences(task: str, c: dict[str, Any], of: dict[str, str], passes: int) -> None:
    if task == "continual/perceptron":
        assert passes == c["draws"] * len(c["loads"]) * len(c["overlaps"]), "students"
        return
    tasks = c.get("orders", {"continual/split-mnist": 5}.get(task, 2))
    assert passes == tasks**2 * c["n_test"] * c["n_samples"], "draws, of each task after each"
    assert of["*"] == f"{c['n_test']:,} of each task"


def _passes_of_classification(task: str, c: dict[str, Any], of: dict[str, Any], passes: int, examples: int) -> None:
    if task.startswith("continual/"):
        _passes_of_sequences(task, c, of, passes)
    elif task.endswith(("-shifted", "-corrupted")):
        rewards, kinds = c["n_masks"] * c["n_fit"], 8 if task.endswith("-shifted") else 5
        assert passes == c["n_samples"] * c["n_shift"] * (1 + kinds * 5) + rewards, "draws of clean and of shifted images, and masks"
        assert of == {"*_correlation": f"{c['n_fit']} training images", "*": c["n_shift"]}
    elif task.startswith("calibration/"):
        assert passes == c["n_samples"] * (c["n_test"] + c["n_shift"] * len(c["angles"])), "draws of clean and of turned images"
        assert of == {"*/*": c["n_shift"], "*": c["n_test"]}
    elif task.startswith("dropout/"):
        assert passes == c["n_test"] * (1 + c["n_masks"]) + c["n_fit"], "of test images with masks and without, and of training images"
        assert of == {"train_nll": f"{c['n_fit']:,} training images", "*": c["n_test"]} | (
            {"gd*": f"{c['batches']} mini-batches"} if "batches" in c else {}
        )
    elif task.startswith("selfsup/"):
        of_few = c["n_shown"] * (8 + 3 * c["pairs"])
        assert passes == c["n_labelled"] + 3 * c["n_test"] + of_few, "features, embeddings and uncertainties, and views of few images"
        assert of["view_spearman"] == of["uncertainty*"] == f"{c['n_shown']:,} test images" and of["*"] == c["n_test"]
    elif task == "noisy/teacher":
        assert passes == c["n_samples"] * (c["n_test"] + examples), "draws of test and of training inputs"
    elif task.endswith("-redrawn"):
        assert passes == c["draws"] * of["*"], "test images by each network"
    else:
        assert passes == c["n_samples"] * (of["*"] + examples), "draws of test and of training images"
        assert of["memorised"] == of["label_precision"] == f"{examples:,} training images"
        assert of["accuracy_*"] == (c["n_track"] or of["*"])


@pytest.mark.parametrize(("task", "budget"), REAL)
def test_passes_of_the_evaluation(task: str, budget: str) -> None:
    card, c = TASKS[task].card, options(task, budget)
    examples, passes = card.work[budget]
    of = card.examples.get(budget, {})
    if task == "generation/mnist-small":
        assert passes == 16 * c["n_test"] + c["samples"], "draws of codes or weights, and decoding samples"
    elif card.family == "generation":
        assert passes == c["n_test"] + c["nll_k"] * c["nll_n"] + c["samples"], "bounds, and decoding samples"
    elif task == "density/mnist-real":
        assert passes == c["n_test"] + c["nll_k"] * c["nll_n"] + c["samples"], "as of generation"
    elif task == "density/digits":
        assert passes == 397 * (1 + c["k"])
    elif task == "density/toy-2d":
        assert passes == c["n_test"] * c["k"]
    elif card.family == "dimension":
        assert passes == c["n_test"] * (1 + c["k"]), "codes and bounds"
    elif card.family == "samples":
        assert passes == c.get("samples", 2000), "decoding samples"
    elif task in ("collapse/bits", "collapse/mnist"):
        assert passes == c["n_test"] * (1 + 50), "codes and bounds"
    elif card.family == "collapse":
        assert passes == c["n"]
    elif task == "rates/sparse-networks":
        cls = TASKS[task].load()
        assert passes == len(cls(cls.Config(**c), budget, 0).fits()) * c["draws"] * (c["n_test"] + examples), (
            "draws of functions at test and training inputs"
        )
    elif card.family == "rates":
        cls = TASKS[task].load()
        assert passes == len(cls(cls.Config(**c), budget, 0).fits()) * c["n_test"], "codes of all fits"
    elif task == "posterior/digits":
        assert passes == 497 * c["n_samples"], "draws of the weights"
    elif task == "posterior/bnn":
        assert passes == 60 * c["n_samples"], "draws of the weights"
    elif card.family == "posterior":
        assert passes == c["draws"]
    elif task in PASSES:
        assert passes == PASSES[task](c)
    elif card.family == "topology":
        assert passes == 2 * c["side"] ** 2, "codes and bounds"
    elif card.family in ("calibration", "dropout", "noisy", "continual", "selfsup"):
        _passes_of_classification(task, c, of, passes, examples)
    elif card.family == "ood":
        _passes_of_detection(task, c, of, passes)
    elif card.family in OF_EACH:
        assert passes == OF_EACH[card.family] * c["n_test"] + (c["n_unseen"] if card.family == "conditional" and of else 0)
    elif card.family == "recommendation":
        assert passes == c["test_users"]
    elif card.family == "regression":
        assert passes == c["n_samples"] * of["*"], "draws of the weights or masks"
