"""Several processes that train one model, as torchrun starts them; without torchrun, one that is alone."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tats_gym.precision import resolve_device


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training."""

    rank: int
    world_size: int
    device: torch.device
    """What this process computes on."""

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and prints."""
        return self.rank == 0


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; leaves them at the end.

    Args:
        device: See `resolve_device`; "auto" and "cuda" take the GPU of this process's place on its machine.
    """
    resolved = resolve_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield Ranks(0, 1, resolved)
        return
    if resolved.type == "cuda" and resolved.index is None:
        resolved = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(resolved)
    dist.init_process_group("nccl" if resolved.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), resolved)
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace gradients by their mean over the processes; with one process nothing is done."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    together = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(together)
    together /= dist.get_world_size()
    parts = together.split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def any_of(flag: bool, device: torch.device) -> bool:
    """Tell whether any process has the flag set, so that all of them leave a loop together."""
    return bool(summed(torch.tensor(int(flag), device=device)).item())


def from_first(value: Any) -> Any:
    """Return the first process's value in all of them; it must pickle."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
