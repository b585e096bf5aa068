"""Copies tensors to a device while it computes."""

import torch
from torch import Tensor


class DeviceCopy:
    """A tensor on its way to a device.

    On CUDA the copy runs on its own stream, beside the kernels that are queued already; from pinned memory the host
    does not wait for it either. On other devices the constructor copies.

    Args:
        source: The tensor to copy; the caller may release it at once.
        device: Its destination.
        stream: The CUDA stream of the copy, None for other devices; see `copy_stream`.
    """

    def __init__(self, source: Tensor, device: torch.device, stream: "torch.cuda.Stream | None" = None) -> None:
        self._arrived: torch.cuda.Event | None = None
        if stream is None:
            self._copy = source.to(device)
            return
        with torch.cuda.stream(stream):
            self._copy = source.to(device, non_blocking=True)
            self._arrived = stream.record_event()

    def get(self) -> Tensor:
        """Return the copy; kernels that are queued from now on wait for it, the host does not."""
        if self._arrived is not None:
            current = torch.cuda.current_stream(self._copy.device)
            current.wait_event(self._arrived)
            self._copy.record_stream(current)  # so that its memory is not reused while this stream needs it
            self._arrived = None
        return self._copy


def copy_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """Return a stream for copies to a CUDA device, None for other devices."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None
