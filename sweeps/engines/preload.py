"""What the server loads from which the local engine's workers are forked: whatever a run imports, and what it would ask of the machine.

It must not start threads nor touch a GPU: neither survives a fork.
"""

import PIL.Image
import pytorch_lightning  # noqa: F401
import torch.utils.flop_counter  # noqa: F401
import torch.utils.serialization.config  # noqa: F401

import elboard.bench.cost  # noqa: F401
import elboard.bench.kinds  # noqa: F401
import elboard.bench.method  # noqa: F401
import elboard.bench.run  # noqa: F401
import elboard.bench.training  # noqa: F401
import elboard.sweeps.work  # noqa: F401
from elboard.bench import plugins, provenance
from elboard.bench.registry import discover

provenance.versions()
plugins.hush()
for kind in ("task", "method"):
    discover(kind)
PIL.Image.preinit()
