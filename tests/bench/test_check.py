"""``elboard check``: each breach of the contract is one line, and what keeps it is passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from elboard.bench import check
from elboard.bench.cli import main
from elboard.bench.kinds import DataSpec
from elboard.bench.registry import compatible, discover
from elboard.bench.task import Data

PLUGINS = Path(__file__).parents[1] / "plugins"
METHOD = (PLUGINS / "linear.py").read_text(encoding="utf-8").replace('name="test-linear"', 'name="mine", cite="Gauss 1809"')
TASK = (PLUGINS / "blobs.py").read_text(encoding="utf-8")
UNITS = 66
LOSS = '        return {"loss": loss}\n'


def findings(folder: Path, method: str, task: str = TASK) -> list[check.Finding]:
    """Of a method's text, alone and in full on the task of ``task``."""
    (folder / "mine.py").write_text(method.replace("splits=True", 'home="test/blobs", splits=True'), encoding="utf-8")
    (folder / "blobs.py").write_text(task, encoding="utf-8")
    paths = (folder,)
    found = check.collect("mine", check.of_entry(discover("method", paths)["mine"], paths))
    return found + check.collect("mine on test/blobs", check.full(check.specification("test/blobs", "mine", paths), folder / "runs"))


def test_what_keeps_the_contract_is_passed(tmp_path: Path) -> None:
    assert findings(tmp_path, METHOD) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    method = METHOD.replace("import Classifier", "import Classifier\nfrom elboard.bench.kinds.links import LinkPredictor")
    method = method.replace("(Method, Classifier)", "(Method, Classifier, LinkPredictor)").replace(LOSS, '        print("x")\n' + LOSS)
    (tmp_path / "mine.py").write_text(method + "\n    def link_scores(self, pairs):\n        return pairs.sum(1)\n", encoding="utf-8")
    (tmp_path / "blobs.py").write_text(TASK.replace('("Classifier",)', '("Classifier", "LinkPredictor")'), encoding="utf-8")
    assert main(["check", str(tmp_path / "blobs.py")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["test/blobs: card: no method fits it", "1 checked, on 0 pairs: 1 finding"]
    (tmp_path / "broken.py").write_text("class (:", encoding="utf-8")
    assert main(["check", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {"of": "mine on test/blobs", "check": "loss", "said": "logs or prints: scalars for the curves are what it returns"} in found
    assert any(finding["of"] == "broken.py" and finding["check"] == "reads" for finding in found)
    assert any(finding["of"] == "mine on links/cora" and finding["check"] == "raises" for finding in found)
    assert all(set(finding) == {"of", "check", "said"} and "\n" not in finding["said"] for finding in found)


@pytest.mark.parametrize(
    ("old", "new", "check_name", "said"),
    [
        (
            '"""A small method outside the package: logistic regression, for tests of the contract."""',
            "",
            "docstring",
            "does not say what it is",
        ),
        ("Gauss 1809", "", "docstring", "not whose"),
        ('{"scale": 2.0}', '{"skale": 2.0}', "card", "recipe wide: no option 'skale': did you mean 'scale'"),
        (
            "splits=True,",
            'splits=True, defaults={"trials": 3, "on": "test/blobs@1", "by": "accuracy", "options": ("lrr",)},',
            "card",
            "defaults: no option 'lrr': did you mean 'lr'",
        ),
        (LOSS, '        self.log("x", 1.0)\n' + LOSS, "loss", "logs"),
        (LOSS, '        print("x")\n' + LOSS, "loss", "logs or prints"),
        (LOSS, "        torch.set_default_dtype(torch.float64)\n" + LOSS, "global state", "torch's default type"),
        (LOSS, "        __import__('random').random()\n" + LOSS, "loss", "Python's random state"),
        (LOSS, "        __import__('numpy').random.rand()\n" + LOSS, "loss", "NumPy's random state"),
        (LOSS, "        loss.backward(retain_graph=True)\n" + LOSS, "loss", "computes gradients"),
        (LOSS, "        with torch.no_grad():\n            self.head.bias += 1e-3\n" + LOSS, "loss", "changes head.bias"),
        (LOSS, '        self.n = getattr(self, "n", 0) + 1\n        return {"loss": loss + self.n}\n', "loss", "other numbers: loss"),
        (
            "    def predict(",
            "    def on_train_end(self):\n        torch.set_num_threads(3)\n\n    def predict(",
            "global state",
            "threads",
        ),
        ("softmax(1)[None]", "softmax(1)[None] + 1e-3 * __import__('time').time() % 1e-3", "deterministic", "the same seed gives"),
        (LOSS, "        raise RuntimeError('as asked')\n", "runs", "as asked"),
        ("self.head = torch.nn.Linear(", "self.heat = torch.nn.Linear(", "runs", "head"),
        ("splits=True", 'home="test/blob"', "card", "no task that it fits"),
    ],
)
def test_a_breach_is_one_line(tmp_path: Path, old: str, new: str, check_name: str, said: str) -> None:
    assert old in METHOD
    try:
        found = findings(tmp_path, METHOD.replace(old, new))
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(1)
    assert any(finding.check == check_name and said in finding.said for finding in found), found
    assert all("\n" not in finding.said for finding in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('primary="accuracy"', 'primary="ece"', "primary 'ece' is not among its metrics"),
        ('"class_nll"),', '"class_nil"),', "no metric 'class_nil'"),
        ('selection="accuracy"', 'selection="entropy"', "has no direction"),
        ('"smoke": {', '"smoke2": {', "it needs smoke"),
        ('"smoke": {', '"smoke": {"methd": {"lr": 0.1}, ', "unknown section 'methd': did you mean 'method'"),
        ('selection="accuracy"', 'selection="accuracy", data=("digits",)', "checksums are of []"),
        (
            "spread: float = 1.0",
            "spread: float = 1.0\n        more: int = 1\n\n    Config.__init__.__kwdefaults__['more'] = 2",
            "more is 1 in",
        ),
    ],
)
def test_a_breach_of_a_task_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TASK
    (tmp_path / "blobs.py").write_text(TASK.replace(old, new), encoding="utf-8")
    found = check.collect("test/blobs", check.of_entry(discover("task", (tmp_path,))["test/blobs"], (tmp_path,)))
    assert any(said in finding.said for finding in found), found


@pytest.mark.parametrize(
    ("measured", "said"),
    [("{}", "does not give the primary metric accuracy"), ('{"accuracy": 0.0}', "gives accuracy = 0.0, the record says")],
)
def test_evidence_must_give_the_metrics(tmp_path: Path, measured: str, said: str) -> None:
    scores = "        return classification_metrics(observed"
    task = TASK.replace(scores, f"        if asked is not None:\n            return {measured}\n{scores}")
    (found,) = findings(tmp_path, METHOD, task)
    assert found.check == "evidence" and said in found.said


@pytest.mark.parametrize(("held", "loose"), [("none", ""), ("loose", "of_all (66, 2)"), ("of a set", "")])
def test_arrays_that_grow_with_the_examples_are_of_a_set(tmp_path: Path, held: str, loose: str) -> None:
    """Whose smoke is small enough that all are kept: where there are more examples an array of no set would be left out."""
    task = TASK.replace("n: int = 200", "n: int = 200\n        n_test: int = 66")
    if held != "none":
        more = '{"p": p, "y": test["y"].numpy(), "of_all": np.zeros((66, 2), np.float32)}'
        task = task.replace('{"p": p, "y": test["y"].numpy()}', more)
    if held == "of a set":
        task = task.replace('arrays=("p", "y")', 'arrays=("p", "y", "of_*")')
    found = findings(tmp_path, METHOD, task)
    assert [(one.check, one.said.partition(" grows with ")[0]) for one in found] == ([("evidence", loose)] if loose else []), found


@pytest.mark.parametrize("units", [0, UNITS])
def test_an_array_by_unit_grows_with_no_examples(tmp_path: Path, units: int) -> None:
    """Though there be as many test images as a layer has units."""
    task = TASK.replace("n: int = 200", f"n: int = 200\n        n_test: int = {UNITS}")
    task = task.replace('"y": test["y"].numpy()}', f'"y": test["y"].numpy(), "of_units": np.zeros({UNITS}, np.float32)}}')
    method = METHOD.replace("self.head = ", f"self.first = torch.nn.Linear(1, {units})\n        self.head = ") if units else METHOD
    found = [one.said.partition(" grows with ")[0] for one in findings(tmp_path, method, task)]
    assert found == ([] if units else [f"of_units ({UNITS},)"])


def test_what_methods_see_must_be_no_view_of_more(tmp_path: Path) -> None:
    task = TASK.replace("third].clone()", "third]", 1)
    assert task != TASK
    found = findings(tmp_path, METHOD, task)
    assert [(finding.check, finding.said.partition(":")[0]) for finding in found] == [
        ("load_train", f"{name}.x is a view of more than it shows") for name in ("train", "valid")
    ]


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_graph_is_no_view() -> None:
    graph = torch.eye(3)
    for of in (graph.to_sparse(), graph.to_sparse_csr()):
        assert not list(check._views(Data(DataSpec((3,), 3), shared={"graph": of})))


def test_validation_must_give_what_is_selected_by(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, METHOD, TASK.replace('return {"accuracy": float(', 'return {"class_nll": float('))
    assert found.check == "validate" and "gives class_nll, and not accuracy" in found.said


def test_no_card_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "nothing.py").write_text("x = 1\n")
    assert main(["check", str(tmp_path)]) == 2 and "no method and no task" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "absent")]) == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_one_method_at_home_and_one_on_each_task_in_full() -> None:
    full, pairs = check.thorough(), compatible()
    assert full < set(pairs) and {task for task, _ in full} == {task for task, _ in pairs}
    assert {(entry.card.home, name) for name, entry in discover("method").items()} <= full
    assert ("links/citeseer", "adamic-adar") in full and ("noisy/mnist-sym50", "co-teaching") not in full


def test_a_method_without_a_year_is_no_witness_of_our_tasks() -> None:
    assert {task for task, method in check.thorough((PLUGINS,)) if method == "test-linear"} == {"test/blobs"}


def test_few_examples_stay_aligned() -> None:
    index, far = torch.arange(100), {"near": {"a": torch.arange(320)}, "y": torch.arange(100) * 2}
    data = Data(DataSpec((1,), 100), {"x": index}, {"x": torch.arange(40)})
    part, test = check.few(data), check.few_of({"x": torch.arange(64), **far}, data)
    assert part.train["x"].tolist() == list(range(16)) and test["y"].tolist() == list(range(0, 32, 2)) and part.spec.n_train == 16
    assert test["x"].tolist() == list(range(0, 64, 4)) and len(test["near"]["a"]) == len(part.valid["x"]) == 16
    whole = check.few(Data(DataSpec((1,), 100), {"x": index}, shared={"edges": torch.zeros(3, 2)}))
    assert len(whole.train["x"]) == 100 == whole.spec.n_train
