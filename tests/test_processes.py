"""Work is shared by processes."""

import os

import torch

from tats_gym.processes import default_jobs, side_by_side


def process_of(item: int) -> int:
    return os.getpid()


def test_processes_share_the_work():
    assert sorted(side_by_side(abs, [-3, 1, -2], jobs=2)) == [(-3, 3), (-2, 2), (1, 1)]


def test_one_job_is_done_here_unless_everything_has_a_process_of_its_own():
    assert {process for _, process in side_by_side(process_of, [0, 1], jobs=1)} == {os.getpid()}
    apart = {process for _, process in side_by_side(process_of, [0, 1], jobs=1, apart=True)}
    assert len(apart) == 2
    assert os.getpid() not in apart


def test_runs_do_not_share_a_gpu_unasked(monkeypatch):
    assert default_jobs() == (1 if torch.cuda.is_available() else os.cpu_count())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_jobs() == 1
