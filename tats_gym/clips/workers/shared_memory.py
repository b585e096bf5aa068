"""Memory in which worker processes leave pixels: through a pipe, 36 MB take 250 ms, from here 15 ms."""

import mmap
import os
import tempfile

import numpy as np
import torch


class SharedRoom:
    """Room for pixels that processes share: without a name, so that nothing is left, and whatever /dev/shm allows.

    Memory is taken as it is first written. To pickle it, the other process must have the same file descriptor.

    Args:
        shape: Of `views`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        if hasattr(os, "memfd_create"):
            self.fd = os.memfd_create("tats_gym clips")
        else:
            with tempfile.TemporaryFile() as file:
                self.fd = os.dup(file.fileno())
        os.ftruncate(self.fd, int(np.prod(shape)))
        self._map()

    def _map(self) -> None:
        size = int(np.prod(self.shape))
        self.views = torch.frombuffer(mmap.mmap(self.fd, size), dtype=torch.uint8).view(self.shape)
        """The pixels."""

    def __getstate__(self) -> tuple[int, tuple[int, ...]]:
        return self.fd, self.shape

    def __setstate__(self, state: tuple[int, tuple[int, ...]]) -> None:
        self.fd, self.shape = state
        self._map()

    def close(self) -> None:
        """Let go of the file; memory is given back with the last tensor that shows it."""
        os.close(self.fd)
