"""Tests of copies to a device."""

import pytest
import torch

from tats_gym.train.device_copy import DeviceCopy, copy_stream


def test_on_the_cpu_no_copy_is_made():
    source = torch.arange(6)
    cpu = torch.device("cpu")
    assert DeviceCopy(source, cpu, copy_stream(cpu)).get().data_ptr() == source.data_ptr()


@pytest.mark.gpu
def test_a_copy_to_a_gpu_does_not_wait_for_the_gpu_s_work():
    device = torch.device("cuda")
    source = torch.randint(256, (64, 1 << 20), dtype=torch.uint8).pin_memory()
    stream = copy_stream(device)
    DeviceCopy(source, device, stream).get()  # the first one allocates
    torch.cuda.synchronize()
    torch.cuda._sleep(10**9)  # clock cycles: most of a second
    busy = torch.cuda.current_stream().record_event()
    upload = DeviceCopy(source, device, stream)
    stream.synchronize()
    assert not busy.query()
    assert torch.equal(upload.get().cpu(), source)
    assert busy.query()


@pytest.mark.gpu
def test_memory_of_a_copy_is_not_reused_while_it_is_read():
    device = torch.device("cuda")
    stream = copy_stream(device)
    pixels = DeviceCopy(torch.ones(1 << 24, dtype=torch.uint8).pin_memory(), device, stream).get()
    torch.cuda._sleep(10**9)
    total = pixels.sum()
    del pixels
    DeviceCopy(torch.zeros(1 << 24, dtype=torch.uint8).pin_memory(), device, stream)
    assert total.item() == 1 << 24
