"""Deliberate faults: videos that break, vanish or never end, workers that are stopped or killed."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from tests.soak.census import tree


class Faults:
    """Makes faults in a running training, one at a time, and heals files after a while.

    Args:
        trainer: The training process.
        videos: Its training videos.
        rng: Chooses.
        heal_s: Seconds for which a file stays broken.
    """

    def __init__(self, trainer: psutil.Process, videos: list[Path], rng: np.random.Generator, heal_s: float) -> None:
        self._trainer, self._videos, self._rng, self._heal_s = trainer, videos, rng, heal_s
        self._broken: dict[Path, float] = {}  # when each is healed
        self.made: dict[str, int] = dict.fromkeys(self.kinds, 0)
        """How often each was made."""

    @property
    def kinds(self) -> dict[str, Callable[[], None]]:
        """The faults by name."""
        return {
            "video cut short": lambda: self._break(lambda path, whole: path.write_bytes(whole[: len(whole) // 3])),
            "video scrambled": lambda: self._break(self._scramble),
            "video emptied": lambda: self._break(lambda path, whole: path.write_bytes(b"")),
            "video gone": lambda: self._break(lambda path, whole: None),
            "video is a folder": lambda: self._break(lambda path, whole: path.mkdir()),
            "video never ends": lambda: self._break(lambda path, whole: os.mkfifo(path)),
            "worker killed": lambda: self._signal(signal.SIGKILL),
            "worker stopped for a while, as by a slow disk": self._slow,
            "worker stopped for good": lambda: self._signal(signal.SIGSTOP),
            "all workers killed with the process they come from": self._kill_server,
        }

    def make(self) -> str:
        """Make one fault, and return its name."""
        name = str(self._rng.choice(list(self.kinds)))
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            self.kinds[name]()
            self.made[name] += 1
        return name

    def heal(self, *, all_of_them: bool = False) -> None:
        """Put whole videos back in the place of those that have been broken for long enough."""
        now = time.monotonic()
        for path in [path for path, due in self._broken.items() if due <= now or all_of_them]:
            del self._broken[path]
            _remove(path)
            _kept(path).replace(path)

    def _break(self, how: Callable[[Path, bytes], object]) -> None:
        whole = [path for path in self._videos if path not in self._broken]
        path = whole[int(self._rng.integers(len(whole)))]
        path.replace(_kept(path))
        self._broken[path] = time.monotonic() + self._heal_s
        how(path, _kept(path).read_bytes())

    def _scramble(self, path: Path, whole: bytes) -> None:
        content = np.frombuffer(whole, np.uint8).copy()
        places = self._rng.integers(len(content), size=max(1, len(content) // 50))
        content[places] = self._rng.integers(256, size=len(places))
        path.write_bytes(content.tobytes())

    def _signal(self, number: signal.Signals) -> int:
        workers = [each for each in tree(self._trainer)[1:] if each.ppid() != self._trainer.pid]
        worker = workers[int(self._rng.integers(len(workers)))].pid if workers else 0
        if worker:
            os.kill(worker, number)
        return worker

    def _slow(self) -> None:
        worker = self._signal(signal.SIGSTOP)
        time.sleep(float(self._rng.uniform(0.2, 2.0)))
        if worker:
            os.kill(worker, signal.SIGCONT)

    def _kill_server(self) -> None:
        for server in self._trainer.children():
            server.kill()


def _kept(path: Path) -> Path:
    return path.with_name(path.name + ".whole")


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
