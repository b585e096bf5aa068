"""Counts the bytes that are copied between host and device."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class CopyCount(TorchDispatchMode):
    """Adds up the bytes of all copies from one kind of device to another while it is entered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it if it copies between devices."""
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is torch.ops.aten._to_copy:
            self._count(args[0], result)
        elif packet is torch.ops.aten.copy_:
            self._count(args[1], args[0])
        elif packet is torch.ops.aten._local_scalar_dense and args[0].device.type != "cpu":
            self.bytes += args[0].element_size()
        return result

    def _count(self, source: Tensor, copy: Tensor) -> None:
        if source.device.type != copy.device.type:
            self.bytes += copy.numel() * copy.element_size()
