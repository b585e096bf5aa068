"""Saves and restores the random state of a process, as plain values for checkpoints."""

import json
import random
from typing import Any

import numpy as np
import torch


def rank_seed(seed: int, *keys: int) -> int:
    """Return the seed of a rank's own draws; `keys` are its rank and other numbers. All zero, it is `seed` itself."""
    return int(np.random.SeedSequence((seed, *keys)).generate_state(1)[0]) if any(keys) else seed


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's global generators, and of the GPU's."""
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (SB3's buffers draw from it)
    legacy["state"]["key"] = legacy["state"]["key"].tolist()
    return {
        "python": json.dumps(random.getstate()),
        "numpy": json.dumps(legacy),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the result of `random_state`; the GPU's state only on a GPU."""
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    legacy = json.loads(state["numpy"])
    legacy["state"]["key"] = np.array(legacy["state"]["key"], dtype=np.uint32)
    np.random.set_state(legacy)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
