"""Devices are taken by the names that are documented."""

import pytest
import torch

from tats_gym.train.precision import resolve_device


@pytest.mark.parametrize("device", ["foo", "meta", "cuda:x", "cuda:-1", ""])
def test_an_unknown_device_is_named_with_the_possible_ones(device):
    with pytest.raises(ValueError, match=f"device must be auto, cpu, cuda or cuda:N, got '{device}'"):
        resolve_device(device)


@pytest.mark.parametrize(
    ("count", "device", "message"),
    [
        (0, "cuda", "'cuda' was asked for, but this torch sees no CUDA device; use 'cpu' or 'auto'"),
        (1, "cuda:1", "sees 1 CUDA device;"),
        (2, "cuda:10", "sees 2 CUDA devices;"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(monkeypatch, count, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=message):
        resolve_device(device)


def test_devices_that_are_there_are_taken(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cpu") == torch.device("cpu")
    assert [resolve_device(name) for name in ("cuda", "cuda:1")] == [torch.device("cuda"), torch.device("cuda", 1)]
