"""Tensors on their way from the host to the device that computes."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device, queued behind what the device computes; torch's own ``to`` waits for that.

    CUDA has read ordinary memory when the call returns, so that the host may write there again. Not for the way back:
    a tensor of the host would be read before it is there.
    """
    return tensor.to(device, non_blocking=True)
