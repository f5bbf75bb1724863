"""Sweeps by name: files, a paper's runs, the reference runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from elboard.bench.cli.watching import find_plan
from elboard.bench.config import resolve
from elboard.bench.errors import UserError
from elboard.bench.papers import paper, papers
from elboard.bench.registry import compatible, discover
from elboard.sweeps.named import find, lite, named, of_paper, searched_key
from elboard.sweeps.plan import expand, plan_of

PLUGINS = (Path(__file__).parents[1] / "plugins",)


@pytest.mark.parametrize("name", list(named()))
def test_named_sweeps_expand(name: str) -> None:
    sweep = expand(find(name))
    keys = [spec.key for spec in sweep.runs]
    assert len(set(keys)) == len(keys) and sweep.size > 0
    assert {spec.budget for spec in (*sweep.runs, *(search.template for search in sweep.searches))} == {
        "full" if name == "ml-20m" else "lite"
    }
    assert sweep.name == name.replace(":", "-"), "it names a folder and a job"
    for place, spec in enumerate(sweep.runs):
        assert all(base.key in keys[:place] for base in spec.starts_from()), "the run that it starts from must come before"


def test_unknown_names_and_options_of_other_sweeps() -> None:
    for words, message in (
        (("quikstart",), "no sweep 'quikstart': did you mean 'quickstart'"),
        (("paper:vgea",), "no paper 'vgea': did you mean 'vgae'"),
        (("x.yaml",), "no sweep file 'x.yaml'"),
        (("quickstart", "full"), "--budget is for a paper's sweep"),
        (("paper:vgae", "ful"), "no budget 'ful': did you mean 'full'"),
        (("quickstart", "", True), "--all is for the sweep lite, not for quickstart"),
        (("paper:mult-vae", "full"), "mult-vae has no runs at full: it has some at smoke and lite"),
    ):
        with pytest.raises(UserError, match=message):
            find(*words)


def test_a_papers_sweep_by_slug_and_number_at_each_budget() -> None:
    assert find("paper:51") == find("paper:vgae") == of_paper(paper("vgae"), "lite")
    runs = expand(find("paper:vgae", "full")).runs
    assert len(runs) == 70 and {spec.budget for spec in runs} == {"full"}
    assert {spec.seed for spec in runs} == set(range(10)) and {spec.method for spec in runs} == {"gae", "vgae", "spectral-embedding"}


def test_what_is_done_is_left_out() -> None:
    def seeds(done: set[str]) -> list[list[int]]:
        entries = of_paper(paper("vgae"), "lite", done)["runs"]
        return [entry["seeds"] for entry in entries if (entry["tasks"], entry["methods"]) == (["links/cora"], ["gae"])]

    done = {resolve("links/cora", "gae", seed=seed).key for seed in range(10)}
    assert seeds(set()) == [list(range(10))]
    assert seeds(done - {resolve("links/cora", "gae", seed=9).key}) == [[9]]
    assert seeds(done) == []


def test_what_a_search_has_chosen_is_left_out_whatever_it_is() -> None:
    def seeds(done: set[str]) -> list[list[int]]:
        return [
            entry["seeds"]
            for entry in of_paper(paper("mult-vae"), "lite", done)["runs"]
            if entry["methods"] == ["wmf"] and "search" in entry
        ]

    (search,) = [search for search in expand(of_paper(paper("mult-vae"), "lite")).searches if search.method == "wmf"]
    done = {searched_key(search.id, search.trials, seed) for seed in search.seeds}
    assert seeds(set()) == [[*search.seeds]] and search.trial_seed not in range(10)
    assert seeds(done - {searched_key(search.id, search.trials, 4)}) == [[4]]
    assert seeds(done) == [] and seeds({searched_key(search.id, 7, seed) for seed in search.seeds}) == [[*search.seeds]]


def test_lite_is_the_papers_runs_and_each_method_at_home() -> None:
    keys = {spec.key for spec in expand(lite()).runs}
    asked = {spec.key for of in papers() if of.asked("lite") for spec in expand(of_paper(of, "lite")).runs}
    cards = [entry.card for entry in discover("method").values()]
    homes = {resolve(card.home, card.name, seed=seed) for card in cards for seed in range(3)}
    assert keys == asked | {one.key for spec in homes for one in (*spec.starts_from(), spec)}
    everything = {(spec.task, spec.method) for spec in expand(lite(everything=True)).runs}
    tasks = discover("task")
    assert (
        everything >= {(task, method) for task, method in compatible() if "lite" in tasks[task].budgets()}
        and lite(everything=True)["name"] == "lite-all"
    )


def test_methods_of_others_are_in_lite_where_their_home_has_that_budget(tmp_path: Path) -> None:
    method, task = ((PLUGINS[0] / name).read_text(encoding="utf-8") for name in ("linear.py", "blobs.py"))
    task = "".join(line for line in task.replace("test/blobs", "test/tiny").splitlines(True) if '"lite": {' not in line)
    (tmp_path / "task.py").write_text(task, encoding="utf-8")
    for home, expected in (("calibration/mnist", True), ("test/tiny", False)):
        folder = tmp_path / home.replace("/", "-")
        folder.mkdir()
        text = method.replace('name="test-linear"', f'name="test-guest", home="{home}"')
        (folder / "guest.py").write_text(text, encoding="utf-8")
        paths = (tmp_path / "task.py", folder)
        names = {spec.method for spec in expand(lite(paths=paths), paths=tuple(map(str, paths))).runs}
        assert ("test-guest" in names) is expected


def test_a_papers_sweep_is_found_by_the_name_that_started_it(tmp_path: Path) -> None:
    sweep = expand(find("paper:infovae", "smoke"))
    file = plan_of(sweep, tmp_path).save()
    assert find_plan("paper:infovae", tmp_path).folder == file.parent and {spec.budget for spec in sweep.runs} == {"smoke"}


def test_a_sweep_is_found_by_its_name_before_others_that_begin_so(tmp_path: Path) -> None:
    saved = {}
    for name in ("vae-large", "vae", "vae-small"):
        file = tmp_path / f"{name}.yaml"
        file.write_text("budget: smoke\nruns: [{tasks: [generation/digits], methods: [vae]}]\n")
        saved[name] = plan_of(expand(file), tmp_path / "runs").save().parent
    for word, name in {"vae": "vae", "vae-l": "vae-large", saved["vae-small"].name: "vae-small", saved["vae"].name[:-2]: "vae"}.items():
        assert find_plan(word, tmp_path / "runs").folder == saved[name]
    with pytest.raises(UserError, match="'va' is the beginning of 3 sweeps in .*: "):
        find_plan("va", tmp_path / "runs")
    with pytest.raises(UserError, match="no sweep 'vaee' was started"):
        find_plan("vaee", tmp_path / "runs")
    with pytest.raises(UserError, match="no sweep '' was started"):
        find_plan("", tmp_path / "runs")
