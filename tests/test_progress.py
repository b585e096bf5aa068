"""What the progress bar counts."""

from types import SimpleNamespace

import pytest

from agents import callbacks


def test_what_is_no_training_is_no_part_of_the_speed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(callbacks.time, "perf_counter", lambda: clock[0])
    stream = SimpleNamespace(wait_s=0.0)
    joint = SimpleNamespace(env=SimpleNamespace(vector_env=SimpleNamespace(hand=SimpleNamespace(stream=stream))))
    progress = callbacks.Progress(joint, 16, log_interval=1, quiet=True)
    progress._mark()
    with progress.paused():
        clock[0] += 10
    clock[0] += 2
    progress.num_timesteps, stream.wait_s = 8, 0.5
    assert progress._speed() == pytest.approx((4.0, 0.25))
