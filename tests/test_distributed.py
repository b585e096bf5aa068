"""The device of each of several processes, by the variables of their launcher."""

import pytest
import torch

from tats_gym.train.distributed import own_device

TORCHRUN = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}


@pytest.fixture(name="gpus")
def _gpus(monkeypatch):
    """Have this machine show a number of GPUs."""

    def show(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)

    return show


@pytest.mark.parametrize(
    ("count", "device", "variables", "expected"),
    [
        (2, "auto", TORCHRUN, "cuda:1"),
        (8, "cuda", TORCHRUN, "cuda:1"),
        (8, "cpu", TORCHRUN, "cpu"),
        (0, "auto", TORCHRUN, "cpu"),
        (1, "auto", {"WORLD_SIZE": "4", "LOCAL_RANK": "3"}, "cuda:0"),  # srun --gpus-per-task=1
        (1, "cuda", {"WORLD_SIZE": "4"}, "cuda:0"),
        (1, "cuda:0", {"WORLD_SIZE": "4", "LOCAL_RANK": "3"}, "cuda:0"),
        (4, "cuda:2", {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}, "cuda:2"),
    ],
)
def test_each_process_has_the_gpu_of_its_local_rank_or_the_only_one_it_sees(gpus, count, device, variables, expected):
    gpus(count)
    assert own_device(device, variables) == torch.device(expected)


@pytest.mark.parametrize(
    ("device", "variables", "message"),
    [
        ("cuda:0", TORCHRUN, "device 'cuda:0' would put all processes of this machine on one GPU; give 'cuda'"),
        ("cuda:0", {"WORLD_SIZE": "2"}, "would put all processes"),
        ("auto", {"WORLD_SIZE": "2"}, r"WORLD_SIZE is 2 but LOCAL_RANK, .* LOCAL_RANK=\$SLURM_LOCALID"),
        ("auto", {"WORLD_SIZE": "4", "LOCAL_RANK": "3"}, "LOCAL_RANK 3 has no GPU of its own: this machine shows 2"),
    ],
)
def test_processes_that_would_share_a_gpu_or_do_not_know_theirs_are_told_so(gpus, device, variables, message):
    gpus(2)
    with pytest.raises(ValueError, match=message):
        own_device(device, variables)
