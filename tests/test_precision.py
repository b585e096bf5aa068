"""Devices are taken by the names that are documented."""

import pytest
import torch

from tats_gym.train.precision import resolve_device, resolve_precision


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


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_bf16_is_taken_where_the_runs_own_gpu_has_it_and_does_not_emulate_it(monkeypatch, capability, expected):
    """A T4 (7.5) emulates bf16, which torch counts as support unless it is asked otherwise."""

    class Properties:
        major, minor = capability

    entered = []

    class Device:
        def __init__(self, device):
            entered.append(device)

        __enter__ = __exit__ = lambda self, *_: None

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    assert resolve_precision("auto", torch.device("cuda", 1)) == expected
    assert entered == [torch.device("cuda", 1)]
