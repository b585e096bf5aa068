"""Several processes that train one model, as torchrun starts them; without torchrun, one that is alone."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from tats_gym.train.precision import resolve_device


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

    @classmethod
    def alone(cls, device: str) -> "Ranks":
        """Return those of a training in one process, on a device as `resolve_device` takes it."""
        return cls(0, 1, resolve_device(device))


PATIENCE = timedelta(hours=2)
"""How long processes wait for each other, as the others do while the first one measures or writes."""


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; leaves them at the end.

    Args:
        device: See `resolve_device`; "auto" and "cuda" take the GPU of this process's place on its machine.
    """
    resolved = resolve_device(device)
    if "WORLD_SIZE" not in os.environ:
        yield Ranks.alone(device)
        return
    if resolved.type == "cuda" and resolved.index is None:
        resolved = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(resolved)
    store, rank, world_size = next(rendezvous("env://"))
    # After a restart the store may still hold addresses of processes that are gone. Machines count their own restarts,
    # so that several of them have no number in common.
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        store = PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "nccl" if resolved.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
    yield Ranks(dist.get_rank(), dist.get_world_size(), resolved)
    # Not after an error: this waits for the others, which wait for this process; the launcher ends them.
    dist.destroy_process_group()
    if backend == "gloo":
        # Its threads outlive it where something else still holds the group, as DistributedDataParallel does. One that
        # lets go of a tensor while Python ends aborts the process (pytorch#190489), so they finish before.
        time.sleep(1)


def parallel(module: nn.Module) -> nn.Module:
    """Return what to call instead of a module: gradients are averaged over the processes while they are computed.

    Weights become those of the first process. With one process it is the module itself.
    """
    if not dist.is_initialized():
        return module
    device = next(module.parameters()).device
    devices = [device] if device.type == "cuda" else None
    # Buffers are constants; their exchange in each forward pass has another name in newer PyTorch.
    known = signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"device_ids": devices, buffers: False, "gradient_as_bucket_view": True}
    return DistributedDataParallel(module, **options)


class GradientAverage:
    """Averages gradients over the processes before a backward pass ends, so before anything clips them.

    For modules whose forward others call by other names, as SB3 does a policy's, where `parallel` would not notice.
    Each process must go through the same backward passes. Weights become those of the first process.
    """

    def __init__(self, module: nn.Module) -> None:
        self._under_way: list[Any] = []
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(self._send)

    def _send(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        if not self._under_way:
            Variable._execution_engine.queue_callback(self._wait)
        parameter.grad /= dist.get_world_size()
        self._under_way.append(dist.all_reduce(parameter.grad, async_op=True))

    def _wait(self) -> None:
        for work in self._under_way:
            work.wait()
        self._under_way = []


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes."""
    return summed(values) / dist.get_world_size() if dist.is_initialized() else values


def from_all(value: Any) -> list[Any]:
    """Return every process's value, in their order; it must pickle."""
    if not dist.is_initialized():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def highest(value: int, device: torch.device) -> int:
    """Return the highest number that any process has, such as a reason for which all leave a loop together."""
    if not dist.is_initialized():
        return value
    found = torch.tensor(value, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found.item())


def from_first(value: Any) -> Any:
    """Return the first process's value in all of them; it must pickle."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
