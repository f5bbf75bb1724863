"""Looking at a method without a trace in its training, and once more as it was at each epoch: curves on test data are made afterwards."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from elboard.bench.record import save_atomically


def random_state() -> list[torch.Tensor]:
    """States of torch's generators: of the CPU, then of each CUDA device."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def set_random_state(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0].cpu())
    for device, state in zip(range(torch.cuda.device_count()), states[1:], strict=False):  # fewer devices may be here than were there
        torch.cuda.set_rng_state(state.cpu(), device)


def seed_torch(seed: int) -> None:
    """Seed torch's generators as ``torch.manual_seed`` does, which formats a stack trace for each kind of device that is absent: half of
    what an epoch costs beside its steps."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextlib.contextmanager
def single(method: Any) -> Iterator[None]:
    """What trains in another precision throughout (``trainer.precision=64-true``) in single, as tasks' data are; its values come back."""
    dtype = getattr(method, "dtype", torch.float32)  # what Lightning has made of it, whatever else it may hold
    of = [tensor for tensor in (*method.parameters(), *method.buffers()) if tensor.dtype == dtype != torch.float32]
    own = [tensor.data for tensor in of]
    for tensor in of:
        tensor.data = tensor.data.float()
    try:
        yield
    finally:
        for tensor, data in zip(of, own, strict=True):
            tensor.data = data


@contextlib.contextmanager
def evaluating(method: Any) -> Iterator[None]:
    """Evaluation mode, single precision, no gradients, and the random state of training left as it was."""
    state, was_training = random_state(), method.training
    method.eval()
    try:
        with torch.no_grad(), single(method):
            yield
    finally:
        method.train(was_training)
        set_random_state(state)


class Epochs:
    """A method at the epochs that were validated, one file each: what :meth:`Task.track` is asked about once training is over.

    Args:
        folder: of the files, which take as much as the weights times the epochs validated, until the attempt has been evaluated.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def keep(self, epoch: int, method: Any) -> None:
        """Write ``method`` as it is, with the present random state."""
        state = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}
        saved = {"state": state, "progress": float(method.progress), "random": random_state()}
        save_atomically(self._file(epoch), lambda path: torch.save(saved, path))

    def lost(self, epochs: Iterable[int]) -> list[int]:
        """Those of ``epochs`` whose file is missing or damaged."""
        lost = []
        for epoch in epochs:
            try:
                self._read(epoch)
            except OSError:
                lost.append(epoch)
        return lost

    def each(self, method: Any, epochs: Iterable[int]) -> Iterator[int]:
        """Those of ``epochs``, with ``method`` in evaluation mode as it was at each of them; afterwards as it is now.

        Raises OSError where a file is missing or damaged.
        """
        now, progress = {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}, method.progress
        try:
            for epoch in epochs:
                saved = self._read(epoch)
                method.load_state_dict(saved["state"])
                method.progress = saved["progress"]
                with evaluating(method):
                    set_random_state(saved["random"])
                    yield epoch
        finally:
            method.load_state_dict(now)
            method.progress = progress

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.ckpt"

    def _read(self, epoch: int) -> dict[str, Any]:
        file = self._file(epoch)
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises what its bytes happen to mean
            raise OSError(f"{file}: the weights of epoch {epoch} cannot be read ({type(error).__name__})") from None
