"""The key: what enters it, what does not, and what labels, groups and pairings make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench import source
from elboard.bench.config import RunSpec, resolve
from elboard.bench.errors import UserError
from elboard.bench.identity import changed, configuration, difference, group_of, key_of
from elboard.bench.record import Record
from elboard.bench.registry import discover
from elboard.results.store import groups_of

METHOD = """
from dataclasses import dataclass, field
from elboard.bench.card import MethodCard
from elboard.bench.method import Method
from elboard.bench.kinds.classification import Classifier
{imports}
CARD = MethodCard(name="{name}", title="", family="test"{more})
class Found(Method, Classifier):
    @dataclass(kw_only=True)
    class Config:
        {options}
"""
PLUGINS = Path(__file__).parents[1] / "plugins"


def write(folder: Path, name: str = "one", options: str = "lr: float = 0.1", more: str = "", imports: str = "") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(METHOD.format(name=name, options=options, more=more, imports=imports))


def run(folder: Path, name: str = "one", seed: int = 0, **overrides: object) -> RunSpec:
    return resolve("test/blobs", name, seed=seed, budget="smoke", overrides=overrides, paths=(str(PLUGINS), str(folder)))


def without_code(spec: RunSpec) -> str:
    """The key as if the code belonged to the package, whose versions say what it is."""
    return key_of({name: value for name, value in spec.identity().items() if name != "code"})


def test_a_new_option_with_a_default_changes_no_key(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b", options="lr: float = 0.1; depth: int = 2")
    for options in ({}, {"lr": 0.2}, {"train.epochs": 1}):
        assert without_code(run(tmp_path / "a", **options)) == without_code(run(tmp_path / "b", **options))
    assert without_code(run(tmp_path / "b", depth=3)) != without_code(run(tmp_path / "b"))


def test_a_changed_default_keeps_the_key_so_that_the_version_must_be_raised(tmp_path: Path) -> None:
    """The lock file (tests/conformance/defaults.json) refuses it without a new version, which is another key."""
    write(tmp_path / "a")
    write(tmp_path / "b", options="lr: float = 0.3")
    write(tmp_path / "c", options="lr: float = 0.3", more=", version=2")
    before, silent, raised = (run(tmp_path / name) for name in "abc")
    assert without_code(before) == without_code(silent) != without_code(raised)
    assert run(tmp_path / "b", lr=0.1).identity()["options"] == {"method": {"lr": 0.1}}
    assert "options" not in run(tmp_path / "a", lr=0.1).identity()


@pytest.mark.parametrize(("one", "other"), [({"lr": 1}, {"lr": 1.0}), ({"trainer.precision": "32"}, {}), ({"trainer.precision": 32}, {})])
def test_what_is_written_otherwise_is_one_run(tmp_path: Path, one: dict, other: dict) -> None:
    write(tmp_path / "a", options="lr: float = 0.1; widths: list[float] = field(default_factory=lambda: [1, 2])")
    assert run(tmp_path / "a", **one).key == run(tmp_path / "a", **other).key
    assert run(tmp_path / "a", widths=[1.0, 2]).key == run(tmp_path / "a").key != run(tmp_path / "a", widths=[1, 3]).key


def test_code_from_outside_is_part_of_the_key_with_all_that_it_imports_from_beside(tmp_path: Path) -> None:
    keys, texts = [], ("x = 1", "y = 1", "z = 1")
    for i, other in enumerate([None, 0, 1, 2]):
        folder = tmp_path / str(i)
        near, far, apart = (text + "0" * (j == other) for j, text in enumerate(texts))
        write(folder, imports="import near")
        for name, text in (("near", f"from far import y\n{near}"), ("far", far), ("apart", apart)):
            (folder / f"{name}.py").write_text(text + "\n")
        keys.append(run(folder).key)
    assert len(set(keys[:3])) == 3 and keys[3] == keys[0], "what is not imported does not count"
    assert "code" not in resolve("links/cora", "gae").identity()


@pytest.mark.parametrize(("words", "file"), [("from pkg.near import x", "pkg/__init__.py"), ("from pkg.near import x", "pkg/far.py")])
def test_packages_beside_it_are_part_of_the_code_wherever_it_lies(tmp_path: Path, words: str, file: str) -> None:
    keys = []
    for i, more in enumerate(("", "# edited\n", "")):
        folder = tmp_path / str(i)
        write(folder, imports=words)
        (folder / "pkg").mkdir()
        for name, text in (("__init__", ""), ("near", "from pkg.far import x"), ("far", "x = 1")):
            (folder / "pkg" / f"{name}.py").write_text(f"{text}\n")
        (folder / file).write_text((folder / file).read_text() + more)
        keys.append(run(folder).key)
    assert keys[0] == keys[2] != keys[1]


def test_modules_beside_it_that_change_places_are_other_code(tmp_path: Path) -> None:
    keys = []
    for values in ((1, 2), (2, 1)):
        folder = tmp_path / str(values[0])
        write(folder, imports="import near, far")
        for name, value in zip(("near", "far"), values, strict=True):
            (folder / f"{name}.py").write_text(f"x = {value}\n")
        keys.append(run(folder).key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize("value", ["nan", float("inf"), float("nan")])
def test_what_no_key_can_say_is_a_mistake(tmp_path: Path, value: object) -> None:
    write(tmp_path / "a", options="lr: float = 0.1; widths: list[float] = field(default_factory=lambda: [1, 2])")
    for options in ({"lr": value}, {"widths": [1, value]}):
        with pytest.raises(UserError, match="is not finite"):
            run(tmp_path / "a", **options)
    with pytest.raises(UserError, match="no method '3'"):
        resolve("ood/digits", "energy", overrides={"base.method": 3})


def test_labels_name_what_differs(tmp_path: Path) -> None:
    write(tmp_path, "two", more=", bases={'classifier': {'method': 'test-linear', 'set': {'lr': 0.2}}}")
    write(tmp_path, "three", more=", bases={'prior': {'method': 'two'}, 'target': {'method': 'test-linear', 'seed': 4}}")
    methods = discover("method", (PLUGINS, tmp_path))

    def said(name: str, **options: object) -> dict:
        return changed(run(tmp_path, name, **options).identity(), methods)

    assert said("two") == {} and said("two", lr=0.5) == {"lr": 0.5}
    assert said("two", **{"base.lr": 0.5}) == {"base.lr": 0.5}
    assert said("two", **{"task.n": 90, "trainer.precision": "64"}) == {"task.n": 90, "trainer.precision": "64-true"}
    assert said("three", **{"bases.target.scale": 2.0, "bases.prior.base.lr": 0.5}) == {
        "bases.target.scale": 2.0,
        "bases.prior.base.lr": 0.5,
    }
    for options in ({"base.lr": 0.5, "train.epochs": 1}, {"task.n": 90}):
        spec = run(tmp_path, "two", **options)
        assert run(tmp_path, "two", **changed(spec.identity(), methods)).key == spec.key, "a label says how to run it"


def test_a_base_of_a_base_has_no_seed_in_the_configuration(tmp_path: Path) -> None:
    """Only a seed that a card fixes is part of it."""
    write(tmp_path, "two", more=", bases={'classifier': {'method': 'test-linear'}}")
    write(tmp_path, "three", more=", bases={'prior': {'method': 'two'}, 'target': {'method': 'test-linear', 'seed': 4}}")
    specs = [run(tmp_path, "three", seed) for seed in (0, 1, 7)]
    trees = [spec.identity() for spec in specs]
    assert len({spec.key for spec in specs}) == 3 and len({group_of(tree) for tree in trees}) == 1
    assert "seed" not in trees[1]["bases"]["prior"][0] and "seed" not in trees[1]["bases"]["prior"][0]["bases"]["classifier"][0]
    assert trees[1]["bases"]["target"][0]["seed"] == 4
    fields = {"metrics": {"accuracy": 0.5}, "primary": "accuracy"}
    (group,) = groups_of([Record.of(spec, f"{i:012x}", "done", **fields) for i, spec in enumerate(specs)])
    assert group.seeds.tolist() == [0, 1, 7] and group.identity == configuration(trees[0])
    assert changed(group.identity, discover("method", (PLUGINS, tmp_path))) == {}
    assert group.spec["bases"]["prior"][0]["bases"]["classifier"][0]["seed"] == 0


def test_the_differing_leaf_of_a_base_is_named(tmp_path: Path) -> None:
    write(tmp_path, "two", more=", bases={'classifier': {'method': 'test-linear'}}")
    one, other = run(tmp_path, "two").identity(), run(tmp_path, "two", **{"base.lr": 0.5}).identity()
    assert difference(one, other) == {"bases.classifier.0.options.method.lr": (None, 0.5)}


def test_code_from_the_search_path_is_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for i, text in enumerate(("x = 1", "x = 2")):
        folder = tmp_path / str(i)
        (folder / "lib").mkdir(parents=True)
        write(folder / "own", imports="from near import x")
        (folder / "lib" / "near.py").write_text(text)
        monkeypatch.setattr(source, "_search_path", lambda folder=folder: [folder / "lib"])
        keys.append(run(folder / "own").key)
    assert keys[0] != keys[1]
    monkeypatch.undo()
    elsewhere = [tmp_path / "other" / "site-packages", tmp_path / "of a cluster"]
    (elsewhere[1] / "torch-9.dist-info").mkdir(parents=True)
    elsewhere[0].mkdir(parents=True)
    for folder in (tmp_path, *elsewhere):
        monkeypatch.syspath_prepend(folder)
    source._search_path.cache_clear()
    found = source._search_path()
    assert tmp_path in found and not {Path(pytest.__file__).parents[1], *elsewhere} & {*found}, "all of torch would be read for a key"
    source._search_path.cache_clear()
