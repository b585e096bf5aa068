"""Shared memory for decoded pixels: 36 MB take 15 ms from here, 250 ms through a pipe."""

import mmap
import os
import tempfile

import numpy as np
import torch


class SharedBuffer:
    """Pixels in memory that processes share.

    The memory has no name, so that none is left behind after a crash, and it does not depend on the size of /dev/shm.
    Pages are allocated when they are first written. Unpickling needs the same file descriptor in the other process.

    Args:
        shape: Shape of `views`.
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
        """Close the file; the memory is freed with the last tensor that maps it."""
        os.close(self.fd)
