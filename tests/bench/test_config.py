"""Configuration, keys and discovery."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elboard.bench.card import missing
from elboard.bench.cli import main
from elboard.bench.config import RunSpec, parse_overrides, resolve, restated
from elboard.bench.errors import UserError
from elboard.bench.identity import difference, flatten
from elboard.bench.registry import compatible, discover, find
from elboard.bench.run import execute
from elboard.bench.source import literal
from elboard.sweeps.plan import expand

PLUGINS = (str(Path(__file__).parents[1] / "plugins"),)


def spec_of(seed: int = 0, **overrides: object) -> RunSpec:
    return resolve("test/blobs", "test-linear", seed=seed, budget="smoke", overrides=overrides, paths=PLUGINS)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("lrr=1", "command line: no option 'lrr', did you mean 'lr'?"),
        ("lr=fast", "command line: lr='fast' is no float above 0"),
        ("train.epochs=2.5", "command line: train.epochs=2.5 is no int at least 0"),
        ("train.epoch=2", "no option 'train.epoch', did you mean 'epochs'?"),
        ("trian.epochs=2", "no section 'trian', did you mean 'train'"),
        ("train.keep=worst", "train.keep='worst': known: best, last"),
        ("wandb.mode=of", "wandb.mode='of': known: disabled, offline, online"),
        ("train.batch_size=-1", "train.batch_size=-1 is not at least 0"),
        ("epochs", "'epochs' is not of the form key=value"),
        ("lr=[1", "'lr=[1': not valid YAML"),
        ("base.lr=1", "no section 'base'"),
    ],
)
def test_mistakes_name_the_nearest_valid_thing(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("test/blobs", "test-linear", budget="smoke", overrides=parse_overrides([word]), paths=PLUGINS)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "method", "budget", "message"),
    [
        ("test/blob", "test-linear", "smoke", "no task 'test/blob': did you mean 'test/blobs'"),
        ("test/blobs", "test-liner", "smoke", "no method 'test-liner': did you mean 'test-linear'"),
        ("test/blobs", "test-linear", "small", "test/blobs has no budget 'small': known: lite, smoke"),
    ],
)
def test_unknown_names(task: str, method: str, budget: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(task, method, budget=budget, paths=PLUGINS)


def test_layers() -> None:
    """Defaults, then the budget, then what was given."""
    spec = spec_of(lr=0.5)
    assert spec.config["method"]["lr"] == 0.5
    assert spec.config["train"]["epochs"] == 3 and spec.config["task"]["n"] == 200
    assert spec_of(**{"train.epochs": 7}).config["train"]["epochs"] == 7


def test_a_budget_names_the_network_of_the_methods_that_have_one() -> None:
    """As an option at its default it has no word in the key, and none in a label; what is given goes before it."""
    named, other = resolve("ood/tabular", "softmax"), resolve("ood/mnist", "softmax")
    assert (named.config["method"]["backbone"], other.config["method"]["backbone"]) == ("mlp", "cnn")
    assert named.options == {} and resolve("ood/tabular", "softmax", overrides={"backbone": "mlp"}).key == named.key
    cnn = resolve("ood/tabular", "softmax", overrides={"backbone": "cnn"})
    assert cnn.options == {"method": {"backbone": "cnn"}} and cnn.key != named.key
    detector = resolve("ood/tabular", "energy")
    assert "backbone" not in detector.config["method"] and detector.starts_from() == [named]
    assert restated(detector) == detector


def test_a_network_that_no_method_has_is_refused(tmp_path: Path) -> None:
    text = (Path(PLUGINS[0]) / "blobs.py").read_text().replace("test/blobs", "test/named")
    text = text.replace('"smoke": {', '"smoke": {"method": {"lr": "fast"}, ', 1)
    (tmp_path / "blobs.py").write_text(text)
    with pytest.raises(UserError, match="budget smoke of test/named: lr='fast' is no"):
        resolve("test/named", "test-linear", budget="smoke", paths=(*PLUGINS, str(tmp_path)))


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("3", 3), ("[1, 2e-1]", [1, 0.2]), ("null", None), ("true", True), ("abc", "abc")]
)
def test_values(text: str, value: object) -> None:
    assert parse_overrides([f"x={text}"]) == {"x": value}


def test_the_key_holds_what_changes_results_and_nothing_else() -> None:
    key = spec_of().key
    same = [{"trainer.threads": 2}, {"trainer.devices": "4"}, {"wandb.mode": "offline"}, {"lr": 0.05}, {"trainer.accelerator": "cpu"}]
    other = [{"lr": 0.06}, {"train.epochs": 4}, {"task.n": 100}, {"trainer.precision": "bf16-mixed"}]
    assert {spec_of(**change).key for change in same} == {key}
    assert len({key, spec_of(seed=1).key, *(spec_of(**change).key for change in other)}) == 6


def test_the_key_is_stable() -> None:
    """A change here makes every existing record foreign: raise the schema with it."""
    tree = {"method": {"lr": 0.1}, "train": {"epochs": 1}, "task": {}, "trainer": {"precision": "32-true"}, "wandb": {}}
    assert RunSpec("a/b", 1, "m", 2, "lite", 3, tree, {"method": {"lr": 0.1}}).key == "2dc0d036d2121d02"


options = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.floats(1e-6, 1.0),
        "scale": st.floats(0.1, 10),
        "train.epochs": st.integers(0, 50),
        "task.n": st.integers(3, 99),
        "explode_at": st.none() | st.integers(0, 9),
    },
)


@given(options, st.integers(0, 2**31))
def test_a_spec_survives_json(overrides: dict, seed: int) -> None:
    spec = spec_of(seed, **overrides)
    again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.key == spec.key and again.identity() == spec.identity()
    assert difference(spec.identity(), again.identity()) == {}


@given(options, options)
def test_keys_are_equal_exactly_when_identities_are(a: dict, b: dict) -> None:
    left, right = spec_of(**a), spec_of(**b)
    assert (left.key == right.key) == (left.identity() == right.identity()) == (difference(left.identity(), right.identity()) == {})


@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.dictionaries(st.text("xyz", min_size=1), st.integers(), min_size=1)))
def test_flatten_keeps_every_leaf(tree: dict) -> None:
    flat = flatten(tree)
    assert sorted(flat.values()) == sorted(v for value in tree.values() for v in (value.values() if isinstance(value, dict) else [value]))


def test_two_files_cannot_claim_one_name(tmp_path: Path) -> None:
    text = (Path(PLUGINS[0]) / "linear.py").read_text()
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="'test-linear' is claimed by two files"):
        discover("method", (tmp_path,))


def test_a_card_must_be_literal(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text("NAME = 'x'\nCARD = MethodCard(name=NAME, title='', family='')\n")
    with pytest.raises(UserError, match="m.py:2: CARD must be a literal"):
        literal(file, "CARD")


def test_a_card_with_an_unknown_field(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("CARD = MethodCard(name='x', title='', family='', colour='red')\nclass M: pass\n")
    with pytest.raises(UserError, match="CARD is not a valid MethodCard"):
        discover("method", (tmp_path / "m.py",))


def test_a_file_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("class (:\n")
    with pytest.raises(UserError, match="m.py: does not parse"):
        discover("method", (tmp_path / "m.py",))


def test_of_a_folder_what_is_no_module_is_skipped_and_what_is_broken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = (Path(PLUGINS[0]) / "linear.py").read_text()
    (tmp_path / "m.py").write_text(text, encoding="utf-8-sig")
    for folder in (".ipynb_checkpoints", "venv/lib", "__pycache__"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "m.py").write_text(text)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "._m.py").write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / ".#m.py").symlink_to("somebody@somewhere.1234")
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "around").symlink_to(tmp_path)
    broken = {
        "a.py": ("class (:", "does not parse"),
        "b.py": ("x = '\0'", "does not parse"),
        "c.py": ("CARD = MethodCard(name='c', title='', family='', bases={'base': 3})\nclass M: pass", "CARD: bases="),
        "d.py": (text.replace("lr: float", "lr: complex"), "type 'complex' of lr is none of"),
        "e.py": ("x = " + "(" * 300 + ")" * 300, "does not parse"),
    }
    for name, (content, _) in broken.items():
        (tmp_path / name).write_text(content)
    assert {*discover("method", (tmp_path,))} - {*discover("method")} == {"test-linear"} and discover("task", (tmp_path,))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(broken), told
    for line, (name, (_, said)) in zip(sorted(told), broken.items(), strict=True):
        assert line.startswith(f"left out: {tmp_path / name}") and said in line
    with pytest.raises(UserError, match="a.py: does not parse"):
        discover("method", (tmp_path / "a.py",))


def test_a_method_whose_base_is_not_here_is_left_out_of_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = (Path(PLUGINS[0]) / "linear.py").read_text()
    (tmp_path / "m.py").write_text(text.replace("splits=True", 'bases={"classifier": {"method": "sofmax"}}'))
    paths = (tmp_path, Path(PLUGINS[0]) / "blobs.py")
    assert [method for task, method in compatible(paths) if task == "test/blobs" and method in ("softmax", "test-linear")] == ["softmax"]
    said = "left out: test-linear starts from 'sofmax', which is not here: did you mean 'softmax'?\n"
    assert said in capsys.readouterr().err
    with pytest.raises(UserError, match="no method 'sofmax': did you mean 'softmax'"):
        resolve("test/blobs", "test-linear", budget="smoke", paths=tuple(map(str, paths)))


@pytest.mark.parametrize("name", ["a b", "", "a/b", "-a", "ä", "a" * 65, "../a"])
def test_names_that_no_review_takes_are_refused_at_the_start(name: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text((Path(PLUGINS[0]) / "linear.py").read_text().replace('name="test-linear"', f"name={name!r}"))
    with pytest.raises(UserError, match="m.py: CARD: name .* is not a name: letters, digits"):
        discover("method", (tmp_path / "m.py",))


def test_missing_path() -> None:
    with pytest.raises(UserError, match="--path nowhere: no such folder or file"):
        discover("method", (Path("nowhere"),))


def test_an_alias_finds_the_method(tmp_path: Path) -> None:
    spec = resolve("noisy/digits-sym40", "cross-entropy", budget="smoke")
    assert (spec.method, spec.key) == ("softmax", resolve("noisy/digits-sym40", "softmax", budget="smoke").key)
    assert "cross-entropy" not in discover("method") and find("method", "cross-entropy") is find("method", "softmax")
    with pytest.raises(UserError, match="did you mean 'cross-entropy'"):
        find("method", "cros-entropy")
    text = (Path(PLUGINS[0]) / "linear.py").read_text().replace("splits=True", 'aliases=("softmax",)')
    (tmp_path / "linear.py").write_text(text)
    with pytest.raises(UserError, match=r"'softmax' is claimed by two files: .*softmax.py and .*linear.py"):
        discover("method", (tmp_path,))


@pytest.mark.parametrize(
    ("head", "offers"),
    [
        ("from elboard import Classifier, Method\nclass M(Method, Classifier): pass", {"Classifier", "Predictor"}),
        ("import elboard\nclass M(elboard.Method, elboard.BinaryLikelihood): pass", {"BinaryLikelihood", "LikelihoodModel"}),
        ("from elboard.bench.kinds import ood as of\nclass A(of.OODScorer):\n  x = 1\nclass M(A): pass", {"OODScorer"}),
        ("from elboard.methods.vae.ppca import PPCA as P\nclass M(\n  P,\n): pass", set(find("method", "ppca").card.offers)),
        ("class Generator: pass\nclass M(Generator): pass", set()),
        ("from somewhere import Generator\nclass M(Generator): pass", set()),
        ('"""\nfrom elboard import Generator\nclass M(Generator): pass\n"""\nclass M: pass', set()),
    ],
)
def test_offers_are_read_from_base_classes(head: str, offers: set[str], tmp_path: Path) -> None:
    card = "CARD = MethodCard(name='x', title='', family='')"
    (tmp_path / "m.py").write_text(f"{head}\n{card}\n")
    assert set(discover("method", (tmp_path,))["x"].card.offers) == offers


def test_a_card_that_still_says_what_it_offers(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("CARD = MethodCard(name='x', title='', family='', offers=())\nclass M: pass\n")
    with pytest.raises(UserError, match="m.py: CARD does not say `offers`"):
        discover("method", (tmp_path / "m.py",))


def test_what_a_machine_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    text = (Path(PLUGINS[0]) / "linear.py").read_text().replace("splits=True", 'requires=("torch", "no_such_module")')
    (tmp_path / "linear.py").write_text(text)
    shutil.copy(Path(PLUGINS[0]) / "blobs.py", tmp_path)
    reason = "test-linear needs no_such_module, which cannot be imported: pip install no-such-module"
    assert missing(find("method", "test-linear", (tmp_path,)).card) == reason
    assert ("test/blobs", "test-linear") not in compatible((tmp_path,)) and ("test/blobs", "softmax") in compatible((tmp_path,))
    assert f"left out: {reason}\n" in capsys.readouterr().err
    (tmp_path / "all.yaml").write_text("budget: smoke\nruns: [{tasks: [test/blobs], methods: ['test-*', 'softm*']}]\n")
    assert [spec.method for spec in expand(tmp_path / "all.yaml", paths=(str(tmp_path),)).runs] == ["softmax"]
    assert main(["list", "methods", "--path", str(tmp_path)]) == 0 and main(["show", "test-linear", "--path", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err.count(f"left out: {reason}\n") == 2 and f"not here: {reason}" in said.out
    with pytest.raises(UserError, match=reason):
        execute(resolve("test/blobs", "test-linear", budget="smoke", paths=(str(tmp_path),)), tmp_path / "runs")
    card = dataclasses.replace(find("method", "softmax").card, requires=("gpu",))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert missing(card) == "softmax needs a GPU, and this machine shows none"
