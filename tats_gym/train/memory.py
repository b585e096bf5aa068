"""Tells that memory did not suffice from other errors."""

import torch


def out_of_memory(err: BaseException) -> bool:
    """Return whether memory did not suffice: Python's, NumPy's, or torch's on the CPU or a GPU."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(err, RuntimeError) and "can't allocate memory" in str(err)  # torch's, on the CPU
