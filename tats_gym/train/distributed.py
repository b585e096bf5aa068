"""Data-parallel training in the processes that torchrun starts; without torchrun, in one."""

import os
import time
from collections.abc import Iterator, Mapping
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
    """This process's rank in the training, and its device."""

    rank: int
    """Number of this process, from 0."""
    world_size: int
    """Number of all processes."""
    device: torch.device
    """Device of this process."""

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    @classmethod
    def alone(cls, device: str) -> "Ranks":
        """Return the ranks of a training in one process; `device` as in `resolve_device`."""
        return cls(0, 1, resolve_device(device))


TIMEOUT = timedelta(hours=2)
"""Timeout of collectives: the other ranks wait in one while rank 0 measures or writes."""


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """Join torchrun's process group, and leave it at the end.

    Args:
        device: See `resolve_device`; "auto" and "cuda" take the GPU of this process's local rank.

    Raises:
        ValueError: If several processes would share a GPU, or a variable of the launcher's is missing.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Ranks.alone(device)
        return
    resolved = own_device(device, os.environ)
    own_gpu = resolved if resolved.type == "cuda" else None
    if own_gpu:
        torch.cuda.set_device(own_gpu)
    store, rank, world_size = next(rendezvous("env://"))
    # After a restart the store may still hold the addresses of dead processes. Each machine counts its own restarts,
    # so the prefix is only the same in all processes where there is one machine.
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        store = PrefixStore(f"start-{os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "nccl" if resolved.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=TIMEOUT, device_id=own_gpu)
    yield Ranks(dist.get_rank(), dist.get_world_size(), resolved)
    # Not after an error: the ranks would wait for each other here; the launcher ends them.
    dist.destroy_process_group()
    if backend == "gloo":
        # Gloo's threads live on while another object, such as DistributedDataParallel, holds the group. If one frees
        # a tensor while Python shuts down, the process aborts (pytorch#190489); the pause lets them finish before.
        time.sleep(1)


def own_device(device: str, variables: Mapping[str, str]) -> torch.device:
    """Return the device of one of several processes: the CPU, or the GPU of its local rank.

    Launchers that show each process its own GPU alone (srun --gpus-per-task=1) number it 0 in all of them.

    Args:
        device: See `resolve_device`.
        variables: Environment variables that the launcher set.

    Raises:
        ValueError: If several processes would share a GPU, or LOCAL_RANK is missing.
    """
    resolved, count = resolve_device(device), torch.cuda.device_count()
    if resolved.type != "cuda":
        return resolved
    if resolved.index is not None:
        if variables.get("LOCAL_WORLD_SIZE", "1" if count == 1 else variables["WORLD_SIZE"]) != "1":
            raise ValueError(
                f"device {device!r} would put all processes of this machine on one GPU; give 'cuda', which takes for "
                "each the GPU of its local rank"
            )
        return resolved
    if count == 1:
        return torch.device("cuda", 0)
    if "LOCAL_RANK" not in variables:
        raise ValueError(
            f"WORLD_SIZE is {variables['WORLD_SIZE']} but LOCAL_RANK, the number of this process on its machine, is "
            "not set: start by torchrun, or under Slurm set LOCAL_RANK=$SLURM_LOCALID in each task"
        )
    local_rank = int(variables["LOCAL_RANK"])
    if local_rank >= count:
        raise ValueError(
            f"LOCAL_RANK {local_rank} has no GPU of its own: this machine shows {count}; start as many processes as "
            "there are GPUs"
        )
    return torch.device("cuda", local_rank)


def parallel(module: nn.Module) -> nn.Module:
    """Wrap a module in DistributedDataParallel, which averages gradients over the ranks; alone, return the module.

    Its weights become those of rank 0.
    """
    if not dist.is_initialized():
        return module
    device = next(module.parameters()).device
    devices = [device] if device.type == "cuda" else None
    # Buffers are constants, so they are not broadcast; newer PyTorch names this option otherwise.
    known = signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {"device_ids": devices, buffers: False, "gradient_as_bucket_view": True}
    return DistributedDataParallel(module, **options)


class GradientAverage:
    """Averages gradients over the ranks before a backward pass ends, and so before they are clipped.

    For modules that are not called by `forward`, such as SB3's policies, whose calls `parallel` would not see.
    All ranks must run the same backward passes. Weights become those of rank 0.
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
    """Return the sum of a tensor over the ranks."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the ranks."""
    return summed(values) / dist.get_world_size() if dist.is_initialized() else values


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks, in their order; they must be picklable."""
    if not dist.is_initialized():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def maximum(value: int, device: torch.device) -> int:
    """Return the maximum over the ranks, such as of a stop flag, so that all leave a loop together."""
    if not dist.is_initialized():
        return value
    largest = torch.tensor(value, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest.item())


def broadcast(value: Any) -> Any:
    """Return rank 0's value in all ranks; it must be picklable."""
    if not dist.is_initialized():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
