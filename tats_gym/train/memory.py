"""The most memory that a process has used, and errors of too little."""

import resource
import sys

import torch


def out_of_memory(err: BaseException) -> bool:
    """Return whether an error says out of memory: Python's, NumPy's, or PyTorch's on the CPU or a GPU."""
    if isinstance(err, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(err, RuntimeError) and "can't allocate memory" in str(err)  # torch's, on the CPU


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory so far in MiB: the GPU's on a GPU, else this process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
