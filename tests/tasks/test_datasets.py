"""The table of data sets, and what the sets hold where they are at hand."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from elboard.bench.registry import discover
from elboard.tasks.data import convert, fetch, loaders

SETS = fetch._table()


@pytest.mark.parametrize("name", SETS)
def test_entries(name: str) -> None:
    found = SETS[name]
    assert set(found) - {"note", "content"} == {"title", "licence", "citation", "sources"}
    assert all(isinstance(found[field], str) and found[field].strip() for field in set(found) - {"sources"})
    if "content" in found:
        assert re.fullmatch("[0-9a-f]{64}", found["content"]) and found["sources"]
    else:
        assert [one["kind"] for one in found["sources"]] == ["url"] and "md5" in found["sources"][0]["archive"], "the publisher vouches"
    for one in found["sources"]:
        assert callable(getattr(convert, one["convert"]))
        assert set(one) - {"kind", "convert", "files", "note"} == {
            "url": {"urls", "archive"} & set(one) | {"urls"},
            "pypi": {"package"},
            "npm": {"package"},
            "debian": {"package"},
        }.get(one["kind"], set())
        assert one["kind"] in ("local", "shipped", "sklearn", *fetch._GET)
        assert all(re.fullmatch(r"https?://.+/", address) for address in one.get("urls", []))
        if one["kind"] in ("pypi", "npm"):
            assert re.fullmatch(r"[\w.-]+(==|@)\d[\w.]*", one["package"]), "a package has a version"
        for wanted in (*one["files"].values(), *([one["archive"]] if "archive" in one else [])):
            path = Path(wanted["path"])
            assert not path.is_absolute() and ".." not in path.parts
            assert all(re.fullmatch(f"[0-9a-f]{{{size}}}", wanted[kind]) for kind, size in (("sha256", 64), ("md5", 32)) if kind in wanted)
        if one["kind"] in ("local", "shipped") or one["kind"] == "url" and "archive" not in one:
            assert all("sha256" in wanted for wanted in one["files"].values())


def test_every_data_set_of_a_task_is_in_the_table() -> None:
    assert {name for entry in discover("task").values() for name in entry.card.data} <= set(SETS)


def test_descriptions() -> None:
    rows = {row["name"]: row for row in fetch.describe()}
    assert set(rows) == set(SETS) and all(all(row.values()) for row in rows.values())
    assert rows["ml-100k"]["sources"] == "local, url, pypi" and "not be passed on" in rows["ml-100k"]["licence"]


def test_the_hash_sees_names_types_shapes_and_values() -> None:
    x = np.arange(6, dtype=np.uint8)
    variants = [{"x": x}, {"y": x}, {"x": x.astype(np.int16)}, {"x": x.reshape(2, 3)}, {"x": x + 1}, {"x": x, "y": x}]
    assert len({fetch.content_hash(arrays) for arrays in variants}) == len(variants)
    assert fetch.content_hash({"a": x, "b": x + 1}) == fetch.content_hash({"b": x + 1, "a": x})
    wide = np.stack([x, x], 1)[:, 0]  # the same values in another memory order
    assert fetch.content_hash({"x": wide}) == fetch.content_hash({"x": x})


# --- the real sets --------------------------------------------------------------------------------


def here(name: str) -> dict[str, np.ndarray]:
    if not fetch.available(name):
        pytest.skip(f"{name} is neither cached nor in ELBOARD_DATA; `elboard data fetch {name}` gets it")
    return loaders.arrays(name)


LABELLED = {"mnist": (28, 28), "fashion-mnist": (28, 28), "cifar10": (32, 32, 3)}


@pytest.mark.parametrize("name", LABELLED)
def test_labelled_images(name: str) -> None:
    found, shape = here(name), LABELLED[name]
    n = {"train": 50_000 if name == "cifar10" else 60_000, "test": 10_000}
    for part, size in n.items():
        x, y = found[f"{part}_x"], found[f"{part}_y"]
        assert x.shape == (size, *shape) and x.dtype == np.uint8 and x.min() == 0 and x.max() == 255
        assert y.shape == (size,) and set(y.tolist()) == set(range(10))
    load = {"mnist": loaders.mnist, "fashion-mnist": loaders.fashion_mnist, "cifar10": loaders.cifar10}[name]
    assert load("test")[0].shape == (10_000, *shape) and load("test")[1].dtype == np.int64
    with pytest.raises(ValueError, match="split 'tset' is neither train nor test"):
        load("tset")
    if name != "mnist":
        assert np.bincount(found["train_y"]).tolist() == [n["train"] // 10] * 10


def test_multiple_features() -> None:
    found = here("mfeat")
    assert {name: of.shape[1] for name, of in found.items() if name != "y"} == {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "zer": 47}
    assert all(len(of) == 2000 and np.isfinite(of).all() for of in found.values()) and loaders.mfeat().keys() == found.keys()
    assert (found["y"] == np.repeat(np.arange(10), 200)).all()


def test_tables_with_labels_belong_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1,0\n1.5,2,7\n3,4,8\n")
    (tmp_path / "b.csv").write_text("0,0\n-1,7\n-2,8\n")
    files = {"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"}
    found = convert.labelled_csv(files)
    assert found["a"].tolist() == [[1.5, 2], [3, 4]] and found["b"].tolist() == [[-1], [-2]] and found["y"].tolist() == [7, 8]
    (tmp_path / "b.csv").write_text("0,0\n-1,8\n-2,7\n")
    with pytest.raises(ValueError):
        convert.labelled_csv(files)


def test_images_that_are_fetched_as_one_file(tmp_path: Path) -> None:
    """Made files in the publishers' forms: the binary version of CIFAR-100, and MATLAB's of SVHN."""
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    fine = np.array([3, 99, 0, 41], np.uint8)
    planes = x.transpose(0, 3, 1, 2).reshape(4, -1)
    (tmp_path / "test.bin").write_bytes(np.concatenate([fine[:, None] // 5, fine[:, None], planes], 1).tobytes())
    found = convert.cifar100_bin({"test": tmp_path / "test.bin"})
    assert (found["x"] == x).all() and (found["y"] == fine).all()
    digit = np.array([[10], [1], [9], [10]], np.uint8)
    savemat(tmp_path / "test.mat", {"X": x.transpose(1, 2, 3, 0), "y": digit})
    found = convert.svhn_mat({"test": tmp_path / "test.mat"})
    assert (found["x"] == x).all() and found["y"].tolist() == [0, 1, 9, 0] and found["x"].dtype == found["y"].dtype == np.uint8


def test_a_file_that_is_no_archive_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("svhn", "cifar100"):
        unpacked: list[Path] = []
        monkeypatch.setattr(fetch, "_download", lambda bases, wanted, folder: None)
        monkeypatch.setattr(fetch, "_extract", lambda archive, folder, members, to=unpacked: to.append(archive))
        (source,) = SETS[name]["sources"]
        fetch._get_url(source, tmp_path)
        assert len(unpacked) == (name == "cifar100"), name


def test_notmnist() -> None:
    found = here("notmnist")
    assert set(found) == {"test_x", "test_y"} and found["test_x"].shape == (10_000, 28, 28)
    assert np.bincount(loaders.notmnist()[1]).tolist() == [1000] * 10


def test_cars_turn_a_full_circle() -> None:
    x = here("cars3d")["x"]
    assert x.shape == (61, 4, 24, 64, 64, 3) and x.dtype == np.uint8

    def distance(steps: int) -> float:
        return float(np.abs(x[::10, 1].astype(float) - np.roll(x[::10, 1], steps, axis=1)).mean())

    assert distance(1) < 0.8 * distance(4), "neighbouring directions look alike, the last and the first too"
    assert len({car.tobytes() for car in x}) == 61


def test_drawings_of_omniglot() -> None:
    found = here("omniglot")
    x, alphabet = found["x"], found["alphabet"]
    assert x.shape == (242, 20, 28, 28) and x.dtype == np.uint8 and x.min() == 0 and x.max() == 255
    assert alphabet.shape == (242,) and set(alphabet.tolist()) == set(range(8)) and (np.diff(alphabet.astype(int)) >= 0).all()
    assert len({drawing.tobytes() for drawing in x.reshape(-1, 784)}) == 4840, "no character of both archives is there twice"
    same, other = (np.abs(x[:, 0].astype(float) - np.roll(x[:, 1], steps, axis=0)).mean() for steps in (0, 100))
    assert same < other, "two drawers' drawings of a character are more alike than those of two characters"


def test_strokes_are_means_over_areas() -> None:
    ink = np.random.default_rng(0).random((105, 105)) < 0.1
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "PNG")
    expected = ink.repeat(4, axis=0).repeat(4, axis=1).reshape(28, 15, 28, 15).mean(axis=(1, 3)) * 255
    assert np.abs(convert._strokes(file.getvalue()) - expected).max() <= 0.5


def test_frey_faces_are_in_the_order_of_the_film() -> None:
    film = here("frey-faces")["images"]
    assert film.shape == (1965, 28, 20) and film.dtype == np.uint8

    def distance(steps: int) -> float:
        return float(np.abs(film[steps:].astype(float) - film[:-steps]).mean())

    assert distance(1) < distance(10) < distance(50) and distance(50) == pytest.approx(distance(200), rel=0.1)


def test_labels_of_cifar10n() -> None:
    labels = loaders.cifar10n()
    rates = {name: (values != labels["clean_label"]).mean() for name, values in labels.items()}
    assert {name: round(100 * rate, 2) for name, rate in rates.items()} == {
        "clean_label": 0.0,
        "aggre_label": 9.01,
        "random_label1": 17.23,
        "random_label2": 18.12,
        "random_label3": 17.64,
        "worse_label": 40.21,
    }
    assert (here("cifar10")["train_y"] == labels["clean_label"]).all(), "the order of the images is that of the labels"


@pytest.mark.parametrize(("name", "n", "users", "items"), [("ml-100k", 100_000, 943, 1682), ("movielens-small", 100_004, 671, 9066)])
def test_ratings(name: str, n: int, users: int, items: int) -> None:
    found = here(name)
    assert all(found[field].shape == (n,) for field in ("user", "item", "rating", "timestamp"))
    assert (len(np.unique(found["user"])), len(np.unique(found["item"]))) == (users, items)
    assert found["rating"].min() >= 0.5 and found["rating"].max() == 5
    pairs = found["user"] * 10**6 + found["item"]
    assert (np.diff(pairs) > 0).all(), "sorted by user and item, no pair twice"


LINES = [(7, 30, 4.0, 978300760), (7, 20, 3.5, 978302109), (2, 30, 5.0, 978301968)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ml-1m", "".join(f"{u}::{i}::{r:g}::{t}\n" for u, i, r, t in LINES)),
        ("ml-20m", "userId,movieId,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in LINES)),
    ],
)
def test_ratings_in_the_formats_of_movielens(name: str, text: str, tmp_path: Path) -> None:
    """A made archive of the publisher's form goes the whole way, and is refused where it is not the publisher's."""
    (source,) = SETS[name]["sources"]
    path = tmp_path / source["archive"]["path"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(source["files"]["ratings"]["path"], text)
        archive.writestr("another/README", "left where it is")
    with pytest.raises(fetch._SourceError, match="refused"):
        fetch._verify(path, source["archive"])
    fetch._extract(path, tmp_path, [wanted["path"] for wanted in source["files"].values()])
    found = getattr(convert, source["convert"])({role: tmp_path / wanted["path"] for role, wanted in source["files"].items()})
    assert found["user"].tolist() == [2, 7, 7] and found["item"].tolist() == [30, 20, 30]
    assert found["rating"].tolist() == [5.0, 3.5, 4.0] and found["timestamp"].tolist() == [978301968, 978302109, 978300760]
    small = here("movielens-small")
    assert {field: array.dtype for field, array in found.items()} == {field: array.dtype for field, array in small.items()}
    assert not (tmp_path / "another").exists()


def test_a_set_that_was_never_here_is_known_by_its_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ELBOARD_CACHE", str(tmp_path))
    assert fetch.checksums(("ml-20m",)) == {"ml-20m": SETS["ml-20m"]["sources"][0]["archive"]["md5"]}
    assert fetch.check("ml-20m") == (True, "not here")
    monkeypatch.setattr(fetch, "_from", lambda source: {"user": np.arange(3)})
    path = fetch.fetch("ml-20m")
    assert path.name == "ml-20m-cd245b17a1ae.npz" and fetch.check("ml-20m")[0]
    with np.load(path) as archive:
        assert archive["user"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("name", "nodes", "edges", "words"), [("cora", 2708, 5278, 1433), ("citeseer", 3327, 4552, 3703)])
def test_graphs(name: str, nodes: int, edges: int, words: int) -> None:
    found = loaders.planetoid(name)
    assert found["features"].shape == (nodes, words) and found["labels"].shape == (nodes,) and found["edges"].shape == (edges, 2)
    u, v = found["edges"].T
    assert (u < v).all() and v.max() < nodes and len(np.unique(found["edges"], axis=0)) == edges


def test_digits() -> None:
    x, y = loaders.digits()
    assert x.shape == (1797, 8, 8) and x.max() == 16 and y.shape == (1797,)
