"""Recognises out-of-memory errors."""

import torch


def out_of_memory(err: BaseException) -> bool:
    """Return whether an error says out of memory: Python's, NumPy's, or PyTorch's on the CPU or a GPU."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(err, RuntimeError) and "can't allocate memory" in str(err)  # torch's, on the CPU
