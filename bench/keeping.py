"""What a run leaves: which results a record and its reviewers take, and the files beside it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elboard.bench import plain
from elboard.bench import record as records
from elboard.bench.config import RunSpec
from elboard.bench.errors import UserError
from elboard.bench.metrics.conventions import bare, better, check_name, whole
from elboard.bench.plugins import FAULTS, words
from elboard.bench.record import save_atomically
from elboard.bench.registry import Entry, find

if TYPE_CHECKING:
    from elboard.bench.evidence import Scores


def check_card(task: Entry) -> None:
    """Raises UserError where no run can be ordered or selected by what the card of ``task`` names."""
    for word in ("primary", "selection"):
        try:
            better(getattr(task.card, word), 1.0, 0.0)
        except UserError as error:
            raise UserError(f"{task.file}: CARD: {word}: {error}") from None


@contextlib.contextmanager
def no_mistake() -> Iterator[None]:
    """Raises a UserError within as ValueError: after training it is a mistake in code, not in what was asked for."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error


def admitted(wanted: str, scores: Scores) -> str:
    """The key of the primary metric, where a record can say all of ``scores``. Raises ValueError where it cannot.

    ``wanted``: the card's primary metric, which may leave out the parameters (``nll`` for ``nll[k=500]``).
    """
    import numpy as np

    with no_mistake():
        for key in scores.metrics:
            check_name(key)
        found = [key for key in whole(tuple(scores.metrics)) if wanted in (key, bare(key))]
    if len(found) != 1:
        raise ValueError(f"the task's primary metric {wanted!r} is {len(found)} times among its metrics {sorted(scores.metrics)}")
    records.check_metrics({"status": "done", "primary": found[0], "metrics": scores.metrics})
    for name in scores.pictures:
        if not plain.FILE.fullmatch(picture_file(name)):
            raise ValueError(f"picture {name!r:.80} has no name of letters, digits, '.', '_' and '-'")
    for name, array in scores.evidence.items():
        if np.asarray(array).dtype.kind not in "biuf":
            raise ValueError(f"evidence {name!r:.80} is of type {np.asarray(array).dtype}, not numbers or booleans")
    return found[0]


def picture_file(name: str) -> str:
    """The file of a picture, relative to the run's folder."""
    return f"pictures/{name}.png"


def keep(spec: RunSpec, folder: Path, method: Any, scores: Scores) -> dict[str, list[str]]:
    """Write evidence, pictures and the final checkpoint; the files by kind, relative to the run's ``folder``."""
    import numpy as np
    import torch
    from PIL import Image

    files: dict[str, list[str]] = {"evidence": [], "pictures": []}
    if scores.evidence:
        content = io.BytesIO()  # given the temporary file's name, NumPy would add a suffix to it
        np.savez_compressed(content, **scores.evidence)
        save_atomically(folder / "evidence" / "evidence.npz", lambda path: path.write_bytes(content.getvalue()))
        files["evidence"].append("evidence/evidence.npz")
    for name, picture in scores.pictures.items():
        image = Image.fromarray(np.asarray(picture, dtype=np.uint8))
        save_atomically(folder / picture_file(name), lambda path, image=image: image.save(path, format="PNG"))
        files["pictures"].append(picture_file(name))
    state = {name: tensor.detach().cpu() for name, tensor in method.state_dict().items()}
    save_atomically(folder / "checkpoints" / "final.ckpt", lambda path: torch.save({"state": state, "key": spec.key}, path))
    return files


def checksums(spec: RunSpec) -> dict[str, str]:
    """Content checksums of the data sets that the task read, as its class reports them."""
    if spec.budget == "smoke":
        return {}
    entry = find("task", spec.task, tuple(Path(path) for path in spec.paths))
    try:
        return {str(name): str(value) for name, value in entry.load().checksums().items()}
    except FAULTS as error:  # a failed download must not hide the failure being recorded
        return {"error": (words(error).splitlines() or [type(error).__name__])[0]}
