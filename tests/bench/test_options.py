"""Options are what they are declared to be before anything runs: words, ranges, finite numbers, and YAML that means what it says."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from elboard.bench.cli import main
from elboard.bench.config import LARGEST_SEED, SECTIONS, merge, parse_overrides, parse_seeds, resolve
from elboard.bench.document import read
from elboard.bench.errors import UserError
from elboard.bench.options import declared, kinds, out_of_bounds
from elboard.bench.papers import papers
from elboard.bench.registry import Entry, compatible, discover, find
from elboard.results.store.lines import lines
from elboard.sweeps.named import find as find_sweep
from elboard.sweeps.named import named
from elboard.sweeps.plan import expand

BOMB = "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(9))
ENTRIES = [entry for kind in ("method", "task") for entry in discover(kind).values()]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("schedule=cosin", "schedule='cosin': did you mean 'cosine'?"),
        ("schedule=true", "schedule=True: known: constant, cosine"),
        ("optimizer=adamm", "optimizer='adamm': did you mean 'adam' or 'adamw'?"),
        ("activation=tan", "activation='tan': did you mean 'tanh'?"),
        ("warmup=2", "warmup=2 is not in [0, 1]"),
        ("momentum=1", "momentum=1 is not in [0, 1)"),
        ("lr=0", "lr=0 is not above 0"),
        ("lr=nan", "lr='nan' is not finite"),
        ("lr=.nan", "lr=nan is not finite"),
        ("lr=-.inf", "lr=-inf is not finite"),
        ("lr=1e400", "lr=inf is not finite"),
        ("lr=true", "lr=True is no float"),
        ("lr=1:30", "lr='1:30' is no float"),
        ("lr='${clip}'", "lr='${clip}' is no float"),
        ("latent_dim=0", "latent_dim=0 is not at least 1"),
        ("latent_dim=010", "010 begins with a zero: write 10, or quote it"),
        ("latent_dim=off", "latent_dim='off' is no int"),
        ("latent_dim=1e400", "latent_dim=inf is no int"),
        ("latent_dim=99999999999999999999", "is too large"),
        ("latent_dim='${hidden}'", "latent_dim='${hidden}' is no int"),
        ("latent_dim=!!int 8", "values are plain"),
        ("hidden=[200, 0]", "hidden=[200, 0]: 0 is not at least 1"),
        ("hidden=[[1]]", "hidden=[[1]]: [1] is no"),
        ("hidden=8", "hidden=8 is no list of int at least 1"),
        ("train.validate_every=-1", "train.validate_every=-1 is not at least 0"),
        ("train.keep=bst", "train.keep='bst': did you mean 'best'"),
        ("task.n_train=-5", "task.n_train=-5 is not at least 1"),
        ("task.network=mnist-cn", "task.network='mnist-cn': did you mean 'mnist-cnn'"),
        ("trainer.threads=0", "trainer.threads=0 is not at least 1"),
        ("trainer.devices=0", "trainer.devices=0 is not a number of at least 1"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0 is not at least 1"),
        ("trainer.precision=64-tru", "trainer.precision='64-tru': did you mean '64-true'"),
        ("trainer.accelerator=cud", "trainer.accelerator='cud': did you mean 'cuda'"),
        ("trainer.strategy=dpp", "trainer.strategy='dpp': did you mean 'ddp'"),
        ("wandb.mode=off", "wandb.mode='off': did you mean 'offline'?"),
        ("wandb.group=${oc.env:HOME}", "refers to another option"),
    ],
)
def test_the_command_line_is_told_before_anything_runs(word: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["run", "generation/mnist", "vae", word, "--budget", "smoke", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and word.partition("=")[0] in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "method", "given", "message"),
    [
        ("density/mnist-real", "silent-vae", {"latents": "gausian"}, "did you mean 'gaussian'"),
        ("noisy/digits-sym40", "ivon", {"optimizer": "adam"}, "optimizer='adam': known: ivon"),
        ("noisy/digits-sym40", "ivon", {"weight_decay": 0}, "is not above 0"),
        ("noisy/digits-sym40", "co-teaching", {"forget_rate": 1}, "is not in [0, 1)"),
        ("noisy/digits-sym40", "nested-co-teaching", {"ensemble": 2}, "is no bool"),
        ("ood/digits", "react", {"base.schedule": "cosin"}, "schedule='cosin': did you mean 'cosine'?"),
        ("density/toy-2d", "real-nvp", {"task.patterns": ["ring"]}, "'ring': did you mean 'rings'"),
    ],
)
def test_each_method_and_task_declares_its_own(task: str, method: str, given: dict, message: str) -> None:
    if not any(method == name for _, name in compatible()):
        pytest.skip(f"{method} needs what is not here")
    with pytest.raises(UserError, match=re.escape(message)):
        resolve(task, method, budget="smoke", overrides=given)


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("vae", {"latent_dim": 0}, "latent_dim=0 is not at least 1"),
        ("vae", {"lr": float("nan")}, "lr=nan is not finite"),
        ("vae", {"hidden": (20, 0)}, "hidden=(20, 0): 0 is not at least 1"),
        ("aggregate-kl-vae", {"kl": "populaton"}, "kl='populaton': did you mean 'population'?"),
        ("ivon", {"warmup": 2}, "warmup=2 is not in [0, 1]"),  # declared by a parent alone
        ("co-teaching", {"forget_rate": 1.0}, "forget_rate=1.0 is not in [0, 1)"),
    ],
)
def test_a_config_checks_itself_where_it_is_made(method: str, given: dict, message: str) -> None:
    """Where notebooks make methods by hand too; whole numbers for real ones and tuples for lists are taken."""
    config = find("method", method).load().Config
    with pytest.raises(UserError, match=re.escape(message)):
        config(**given)
    assert config(**{name: value for name, value in {"lr": 1, "forget_rate": None}.items() if name in config.__dataclass_fields__})


def test_a_plain_type_in_a_subclass_keeps_what_its_parent_declares() -> None:
    base, own = (kinds(find("method", name).config_class()) for name in ("vae", "ivon"))
    assert str(base["latent_dim"]) == "int at least 1" and str(own["lr"]) == "float above 0" and str(own["warmup"]) == "float in [0, 1]"
    assert str(own["schedule"]) == "constant | cosine" and str(own["optimizer"]) == "ivon"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.card.name)
def test_every_option_is_declared_and_its_default_is_allowed(entry: Entry) -> None:
    schema = entry.config_class()
    assert out_of_bounds(schema) == {}
    open_ended = {"mu", "m", "gate", "log_t_min", "log_t_max", "log_variance"}  # any number
    bare = {name for name, kind in kinds(schema).items() if kind.within is None and kind.type is not bool}
    with contextlib.suppress(ImportError):  # of what is not installed here
        assert declared(entry.load().Config) == kinds(schema), "what it checks itself against is what the command line is checked against"
    assert bare <= open_ended, "declare its words (Literal) or its range (Count, Share, ... of elboard.bench.options)"


def test_sections_allow_their_defaults() -> None:
    assert [out_of_bounds(schema) for schema in SECTIONS.values()] == [{}, {}, {}]


def test_every_sweep_and_paper_passes() -> None:
    for name in named():
        assert expand(find_sweep(name)).size > 0
    for paper in papers():
        for budget in ("smoke", "lite", "full"):
            for entry in paper.runs(budget) if paper.asked(budget) else ():
                resolve(entry["tasks"][0], entry["methods"][0], budget=budget, overrides=entry.get("set", {}))


def test_every_recipe_passes() -> None:
    for entry in ENTRIES:
        for name in getattr(entry.card, "recipes", {}):
            merge(entry.config_class(), name, entry.card.recipe(name))


def _wrong(spec: Mapping[str, Any]) -> list[str]:
    schemas = {**SECTIONS, **{kind: find(kind, spec[kind]).config_class() for kind in ("method", "task")}}
    known = {section: kinds(schema) for section, schema in schemas.items()}
    found = [
        f"{section}.{name}={value!r}{known[section][name].wrong(value)}"
        for section, options in spec["config"].items()
        for name, value in options.items()
        if name in known[section] and known[section][name].wrong(value)
    ]
    return found + [line for runs in spec["bases"].values() for run in runs for line in _wrong(run)]


def test_every_shipped_record_passes() -> None:
    assert {line for one in lines("", []) for line in _wrong(one.record.spec)} == set()


def test_two_names_of_a_precision_are_one_key() -> None:
    def keys(word: str) -> set[str]:
        return {resolve("generation/mnist", "vae", overrides=parse_overrides([f"trainer.precision={one}"])).key for one in word.split()}

    assert [len(keys(word)) for word in ("32 32-true", "bf16 bf16-mixed", "16 16-mixed", "64 64-true", "32 64 bf16")] == [1, 1, 1, 1, 3]


@pytest.mark.parametrize("given", ["-1", "3-1", "", "a", "0-99999999", str(2**32), True, 1.5, [0, "x"], [[0]], None, {}])
def test_seeds(given: object) -> None:
    with pytest.raises(UserError, match="seeds"):
        parse_seeds(given)
    assert parse_seeds([0, "2-3"]) == [0, 2, 3] and parse_seeds("1,4") == [1, 4] and parse_seeds(7) == [7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "f: not valid YAML (line 3: key 'a' twice)"),
        ("a: &a {b: *a}", "an anchor that contains itself"),
        ("x: &a [*a]", "an anchor that contains itself"),
        ("[" * 5000, "more than 50 levels"),
        ("- " * 5000 + "x", "more than 50 levels"),
        ("a: !!python/name:os.system x", "values are plain"),
        ("a: é".encode("latin1"), "f: is not UTF-8"),
        ("a: 1".encode("utf-16"), "f: is not UTF-8"),
        (b"a: \0", "not valid YAML"),
        ("x" * (2**20 + 1), "more than 1,048,576 bytes"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 017", "begins with a zero"),
        ("a: [1", "not valid YAML"),
        (BOMB, "more than 1,000,000 values"),
    ],
)
def test_documents(text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read("f", text)
    assert "\n" not in str(caught.value)


def test_scalars_mean_what_they_say() -> None:
    text = "[off, yes, no, 1:30, 2026-01-01, 0x10, 1e-3, .5, 10_000, 0.5, true, null, nan, '010', 0]"
    said = ["off", "yes", "no", "1:30", "2026-01-01", "0x10", 1e-3, 0.5, 10_000, 0.5, True, None, "nan", "010", 0]
    assert json.dumps(read("f", text)) == json.dumps(said)
    assert read("f", "\ufeffa: 1".encode()) == {"a": 1}
    assert read("f", "{a: &a [1, 2], b: *a}") == {"a": [1, 2], "b": [1, 2]}


def test_beyond_the_largest_seed_two_would_be_one() -> None:
    draws = [torch.randn(3, generator=torch.Generator().manual_seed(seed)) for seed in (0, LARGEST_SEED - 1, LARGEST_SEED)]
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])
    with pytest.raises(UserError, match="seed 4294967296 is not a whole number from 0 to 4,294,967,295"):
        resolve("generation/digits", "vae", seed=LARGEST_SEED)
