"""Views of images, for methods whose objective takes several."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shifted(x: Tensor) -> Tensor:
    """Each image ``(B, C, H, W)`` moved by up to a fourteenth of its side, at least one pixel, in both directions; zeros come in."""
    n, _, height, width = x.shape
    most = max(1, round(min(height, width) / 14))
    top, left = torch.randint(2 * most + 1, (2, n, 1), device=x.device)
    rows, columns = top + torch.arange(height, device=x.device), left + torch.arange(width, device=x.device)
    each = torch.arange(n, device=x.device)[:, None, None]
    return F.pad(x, (most,) * 4).permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).contiguous()
