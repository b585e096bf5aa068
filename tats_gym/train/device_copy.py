"""Copies tensors to a device beside what the device is doing."""

import torch
from torch import Tensor


class Upload:
    """A tensor on its way to a device.

    On CUDA the copy begins at once, on a stream of its own, so that it overlaps with the kernels that are queued
    already; from page-locked memory the host does not wait for it either. Elsewhere it is over on return.

    Args:
        source: What is copied; may be let go at once.
        device: Where to.
        stream: The stream of the copy, None for devices that have none; see `upload_stream`.
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
        """Return the copy; what is queued on the device from now on waits for it, the host does not."""
        if self._arrived is not None:
            current = torch.cuda.current_stream(self._copy.device)
            current.wait_event(self._arrived)
            self._copy.record_stream(current)  # its memory is not given away before this stream is done with it
            self._arrived = None
        return self._copy


def upload_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """Return a stream for copies to a CUDA device, None for other devices."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None
