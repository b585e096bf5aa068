"""The progress bar's count, and its lines in a log."""

import contextlib
import io
import math
import os
import pty
import re
import sys
import termios
from types import SimpleNamespace

import pytest

from tats_gym.agents.training import progress as module
from tats_gym.runs.progress import Lines, progress_bar


def test_pauses_are_no_part_of_the_speed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    stream = SimpleNamespace(wait_s=0.0)
    joint = SimpleNamespace(env=SimpleNamespace(vector_env=SimpleNamespace(clip_buffer=SimpleNamespace(stream=stream))))
    progress = module.Progress(joint, 16, log_interval=1, quiet=True)
    progress._mark()
    with progress.paused():
        clock[0] += 10
    clock[0] += 2
    progress.num_timesteps, stream.wait_s = 8, 0.5
    assert progress._speed() == pytest.approx((4.0, 0.25))


class Clock:
    """Stands in for the time of tqdm and of the lines."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr("tats_gym.runs.progress.time.monotonic", lambda: self.now_s)
        monkeypatch.setattr("tqdm.std.time", lambda: self.now_s)
        monkeypatch.setattr(Lines, "last_s", -math.inf)


def _shown(monkeypatch, *, seconds, **settings):
    """The output of a bar in a file, of as many clips as seconds, one each second."""
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total=seconds, unit="clip", **settings) as bar:
        for second in range(seconds):
            clock.now_s += 1
            bar.set_description_str(f"loss {second}", refresh=False)
            bar.set_postfix_str(f"{second} clips/s", refresh=False)
            bar.update()
    return stream.getvalue()


def test_a_log_gets_first_and_last_line_and_one_a_minute_between_them(monkeypatch):
    text = _shown(monkeypatch, seconds=150, name="runs/a")
    assert re.findall(r"(\d+)/150 clips", text) == ["0", "60", "120", "150"]
    assert not set(text) & {"\r", "\x1b", "█"}
    lines = text.splitlines()
    assert all(line.startswith("runs/a: ") for line in lines)
    assert lines[1] == "runs/a: loss 59  40%, 60/150 clips [01:00<01:30, 59 clips/s]"
    assert text.endswith("\n")


def test_quiet_leaves_a_line_every_ten_minutes(monkeypatch):
    assert _shown(monkeypatch, seconds=599, quiet=True) == ""
    text = _shown(monkeypatch, seconds=1500, quiet=True)
    assert re.findall(r"(\d+)/1500 clips", text) == ["600", "1200", "1500"]


def test_many_short_bars_share_a_line_a_minute(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for video in range(100):
        for _ in progress_bar(range(3), desc=f"{video}/100", unit="segment", leave=False):
            clock.now_s += 1
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5  # of 300 seconds
    assert lines[0].startswith("0/100")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch):
    for quiet in (False, True):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(ours, (24, 100))
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            for _ in progress_bar(range(3), unit="clip", desc="loss", quiet=quiet):
                pass
        shown = b""
        with contextlib.suppress(OSError):  # the end of a closed terminal's content
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
        assert (b"3/3 clips" in shown) is (b"\r" in shown) is (not quiet), shown
