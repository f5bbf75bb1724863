"""From the files of a source to the arrays of a data set. No pickles. Functions are named in ``datasets.yaml``."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

Files = dict[str, Path]
Arrays = dict[str, np.ndarray]


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes (LeCun's format), gzipped or not."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    kind, dimensions = data[2], data[3]
    if kind != 8:
        raise ValueError(f"{path}: IDX type {kind} is not unsigned byte")
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def idx(files: Files) -> Arrays:
    return {role: _read_idx(path) for role, path in files.items()}


def npz(files: Files) -> Arrays:
    (path,) = files.values()
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def state_dict(files: Files) -> Arrays:
    """Parameters and buffers of a checkpoint of torch by their names; nothing but tensors is unpickled."""
    import torch

    (path,) = files.values()
    return {name: tensor.numpy() for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items()}


def graph(files: Files) -> Arrays:
    """Edges ``(E, 2)`` with u < v, dense features ``(N, F)``, labels ``(N,)``."""
    z = npz(files)
    n, width = len(z["labels"]), int(z["num_features"])
    features = np.zeros((n, width), np.float32)
    rows = np.repeat(np.arange(n), np.diff(z["x_indptr"]))
    features[rows, z["x_indices"].astype(np.int64)] = z["x_data"]
    edges = np.sort(z["edges"].astype(np.int64), axis=1)
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    return {"edges": edges, "features": features, "labels": z["labels"].astype(np.int64)}


def digits(files: Files) -> Arrays:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return {"x": bunch.images.astype(np.uint8), "y": bunch.target.astype(np.uint8)}


def _cifar(images: dict[str, np.ndarray], train_y: np.ndarray, test_y: np.ndarray) -> Arrays:
    train = np.concatenate([images[f"train_{i}"] for i in range(1, 6)])
    return {"train_x": train, "train_y": train_y.astype(np.uint8), "test_x": images["test"], "test_y": test_y.astype(np.uint8)}


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def cifar_sheets(files: Files) -> Arrays:
    """Sheets of 100 x 100 tiles; tile k at row k // 100, column k % 100."""
    images = {
        role: _pixels(path).reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4).reshape(10000, 32, 32, 3)
        for role, path in files.items()
        if role != "labels"
    }
    labels = npz({"labels": files["labels"]})
    return _cifar(images, labels["train"], labels["test"])


def cifar_strips(files: Files) -> Arrays:
    """PNG files with one image of 32 x 32 pixels a row, row-major."""
    images = {role: _pixels(path).reshape(10000, 32, 32, 3) for role, path in files.items() if "labels" not in role}
    train_y, test_y = (np.array(json.loads(files[f"{part}_labels"].read_text())) for part in ("train", "test"))
    return _cifar(images, train_y, test_y)


def cifar_bins(files: Files) -> Arrays:
    """The original binary version: a label byte, then 1024 red, green and blue bytes."""
    rows = {role: np.frombuffer(path.read_bytes(), np.uint8).reshape(10000, 3073) for role, path in files.items()}
    images = {role: np.ascontiguousarray(r[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)) for role, r in rows.items()}
    return _cifar(images, np.concatenate([rows[f"train_{i}"][:, 0] for i in range(1, 6)]), rows["test"][:, 0])


def cifar100_bin(files: Files) -> Arrays:
    """The original binary version: a byte of the coarse and one of the fine label, then 1024 red, green and blue bytes."""
    rows = np.frombuffer(files["test"].read_bytes(), np.uint8).reshape(-1, 3074)
    return {"x": np.ascontiguousarray(rows[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), "y": rows[:, 1].copy()}


def svhn_mat(files: Files) -> Arrays:
    """MATLAB's ``X`` (32, 32, 3, N), and ``y`` (N, 1) from 1 to 10, of which 10 is the digit 0."""
    from scipy.io import loadmat

    found = loadmat(files["test"], variable_names=("X", "y"))
    return {"x": np.ascontiguousarray(found["X"].transpose(3, 0, 1, 2)), "y": (found["y"][:, 0] % 10).astype(np.uint8)}


def car_sheets(files: Files) -> Arrays:
    """A sheet a car, in the order of the roles: 4 rows of elevation by 24 columns of azimuth, tiles of 64 x 64 pixels."""
    return {"x": np.stack([_pixels(path).reshape(4, 64, 24, 64, 3).transpose(0, 2, 1, 3, 4) for path in files.values()])}


def _strokes(data: bytes) -> np.ndarray:
    """A drawing of 105 x 105 pixels, ink 0 on 1, as 28 x 28 levels with ink 255: the mean over the area of a pixel, in whole numbers."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        ink = 1 - np.asarray(image.convert("1"), dtype=np.int64)
    edges = np.minimum(np.maximum(4 * np.arange(105) - 15 * np.arange(28)[:, None], 0), 15)  # quarters of an old pixel, 15 a new one
    ends = np.minimum(np.maximum(4 * np.arange(1, 106) - 15 * np.arange(28)[:, None], 0), 15)
    weights = ends - edges
    return ((weights @ ink @ weights.T * 255 * 2 + 225) // 450).astype(np.uint8)


def omniglot_zips(files: Files) -> Arrays:
    """Drawings ``x`` (characters, 20 drawers, 28, 28) by alphabet and character, and the ``alphabet`` of each character, a number by name;
    characters that several archives hold once."""
    drawings: dict[tuple[str, str], dict[str, bytes]] = {}
    for path in files.values():
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".png"):
                    _, alphabet, character, file = name.split("/")
                    drawings.setdefault((alphabet, character), {})[file[-6:]] = archive.read(name)
    characters, alphabets = sorted(drawings), sorted({alphabet for alphabet, _ in drawings})
    x = np.stack([np.stack([_strokes(data) for _, data in sorted(drawings[character].items())]) for character in characters])
    return {"x": x, "alphabet": np.array([alphabets.index(alphabet) for alphabet, _ in characters], np.uint8)}


def _ratings(rows: list[list[str]]) -> Arrays:
    """Columns user, item, rating, timestamp of rows of text."""
    return _ordered(np.array([[float(cell) for cell in row[:4]] for row in rows]))


def _ordered(table: np.ndarray) -> Arrays:
    """Columns user, item, rating, timestamp of ``(N, 4)``, in a canonical order: sources differ in theirs."""
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    user, item, rating, timestamp = table.T
    return {
        "user": user.astype(np.int64),
        "item": item.astype(np.int64),
        "rating": rating.astype(np.float32),
        "timestamp": timestamp.astype(np.int64),
    }


def ratings_tsv(files: Files) -> Arrays:
    return _ratings([line.split("\t") for line in files["ratings"].read_text().splitlines()])


def ratings_inter(files: Files) -> Arrays:
    """Tab-separated with a typed header (RecBole)."""
    return _ratings([line.split("\t") for line in files["ratings"].read_text().splitlines()[1:]])


def ratings_csv(files: Files) -> Arrays:
    with open(files["ratings"], newline="", encoding="utf-8") as file:
        return _ratings(list(csv.reader(file))[1:])


def ratings_20m(files: Files) -> Arrays:
    """Lines ``user,item,rating,timestamp`` below a header, many of them: read without an object for each number."""
    return _ordered(np.loadtxt(files["ratings"], delimiter=",", skiprows=1, encoding="utf-8", ndmin=2))


def ratings_dat(files: Files) -> Arrays:
    """Lines ``user::item::rating::timestamp`` (MovieLens 1M and 10M)."""
    with open(files["ratings"], encoding="utf-8") as file:
        return _ordered(np.loadtxt((line.replace("::", ",") for line in file), delimiter=",", ndmin=2))


def ratings_dslabs(files: Files) -> Arrays:
    """The object ``movielens`` of R's package dslabs, read with the package rdata (``pip install rdata``)."""
    from elboard.bench.errors import UserError

    try:
        import rdata
    except ImportError:
        raise UserError("movielens-small from r-cran-dslabs needs the Python package rdata: pip install rdata") from None

    def parsed(data: bytes) -> object:
        with warnings.catch_warnings(action="ignore"):  # that the stream has no header of its own
            return rdata.conversion.convert(rdata.parser.parse_data(data))

    index = parsed(gzip.decompress(files["index"].read_bytes()))
    offset, length = (int(value) for value in index["variables"]["movielens"])
    block = files["values"].read_bytes()[offset : offset + length]
    frame = parsed(zlib.decompress(block[4:]))  # four bytes of length, then a stream of zlib
    out = io.StringIO()
    frame[["userId", "movieId", "rating", "timestamp"]].to_csv(out, index=False)
    return _ratings([line.split(",") for line in out.getvalue().splitlines()[1:]])


def labelled_csv(files: Files) -> Arrays:
    """Tables of the same examples, with a header and the class in the last column: each by its role, (N, D), and ``y`` (N,)."""
    tables = {role: np.loadtxt(path, delimiter=",", skiprows=1) for role, path in files.items()}
    (y,) = {tuple(rows[:, -1]) for rows in tables.values()}
    return {**{role: rows[:, :-1] for role, rows in tables.items()}, "y": np.array(y).astype(np.uint8)}


def table(files: Files) -> Arrays:
    """Rows of numbers, of which one column is the target: ``x`` (N, D) and ``y`` (N,), double precision as written."""
    rows, features, target = (np.loadtxt(files[role]) for role in ("rows", "features", "target"))
    return {"x": rows[:, np.atleast_1d(features).astype(int)], "y": rows[:, int(target)]}


def text_bytes(files: Files) -> Arrays:
    """The bytes of a text of one byte a character, ``text`` (N,)."""
    return {"text": np.frombuffer(files["text"].read_bytes(), np.uint8).copy()}
