"""Measures clips a second of one process, of parallel processes without a loader, and of loaders."""

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from tats_gym.benchmarks.peers import published_loader
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.datasets.listing import Video, list_videos
from tats_gym.clips.decoder import ClipDecoder, EpochOrder, empty_views
from tats_gym.clips.readers import Reader
from tats_gym.clips.workers.supervisor import WORKER_ENVIRONMENT
from tats_gym.model.videomae import MAE_PRESETS, MaskedAutoencoder
from tats_gym.tokens import TokenGrid

Take = Callable[[], Any]
"""Returns the next batch."""

START_LIMIT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of one measurement, and the number of processes that decode them."""

    root: Path
    """Folder of the videos."""
    stride: int
    """Frames from one frame of a clip to the next."""
    grid: TokenGrid
    """Geometry of a clip."""
    batch_size: int
    """Clips in a batch."""
    num_workers: int
    """Processes that decode."""

    @property
    def videos(self) -> tuple[Video, ...]:
        """The folder's training videos."""
        return list_videos("folder", self.root).videos

    @property
    def config(self) -> ClipConfig:
        """The stream's settings."""
        return ClipConfig(data="folder", root=str(self.root), stride=self.stride, num_workers=self.num_workers)

    def decoder(self, reader: Reader = "auto") -> ClipDecoder:
        """Return the decoder that a worker process of `ClipStream` uses."""
        return ClipDecoder(replace(self.config, reader=reader), self.videos, self.grid.frames, self.grid.size)

    def order(self, seed: int) -> EpochOrder:
        """Return the order of the videos."""
        return EpochOrder(seed, len(self.videos))


def reader_rate(clips: Clips, reader: Reader, seconds: float, seed: int) -> float:
    """Return clips a second of this process on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _decode_alone(clips.decoder(reader), clips.order(seed), seconds)
    finally:
        torch.set_num_threads(threads)


def side_by_side_rate(clips: Clips, seconds: float, seed: int) -> float:
    """Return clips a second of `num_workers` processes that decode in parallel and discard the clips."""
    context = processes()
    barrier, rates = context.Barrier(clips.num_workers), context.SimpleQueue()
    workers = [
        context.Process(target=_decode_beside, args=(clips.decoder(), order, seconds, barrier, rates), daemon=True)
        for order in map(clips.order, range(seed, seed + clips.num_workers))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a process that decodes ended with an error, see above")
    each: list[float] = [rates.get() for _ in workers]
    return sum(each)


def _decode_beside(
    decoder: ClipDecoder, order: EpochOrder, seconds: float, barrier: Barrier, rates: "SimpleQueue[float]"
) -> None:
    os.environ.update(WORKER_ENVIRONMENT)  # as in the loader's workers, for a fair comparison
    torch.set_num_threads(1)
    rates.put(_decode_alone(decoder, order, seconds, lambda: barrier.wait(START_LIMIT_S)))


def _decode_alone(
    decoder: ClipDecoder, order: EpochOrder, seconds: float, ready: Callable[[], Any] = lambda: None
) -> float:
    """Return clips a second, after a first clip and from the return of `ready` on."""
    room = empty_views(1, decoder.frames, decoder.size)
    decoder.draw(order[0], 0, room)
    ready()
    start = time.perf_counter()
    for number in itertools.count(1):
        decoder.draw(order[number], 0, room)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return number / elapsed
    raise AssertionError


@contextmanager
def our_loader(clips: Clips, seed: int) -> Iterator[Take]:
    """Take batches from a `ClipStream`: uint8."""
    with closing(ClipStream(clips.config, frames=clips.grid.frames, size=clips.grid.size, seed=seed)) as stream:
        yield lambda: stream.take(clips.batch_size)


@contextmanager
def their_loader(clips: Clips, seed: int) -> Iterator[Take]:
    """Take batches from the published loader: float32."""
    processes()
    torch.manual_seed(seed)
    paths = [video.path for video in clips.videos]
    loader = published_loader(
        paths, clips.grid, clips.stride, batch_size=clips.batch_size, num_workers=clips.num_workers
    )
    batches: Any = iter(loader)
    try:
        yield lambda: next(batches)
    finally:
        batches._shutdown_workers()  # at once, not at garbage collection: the next measurement needs the cores


def loader_rate(take: Take, clips: Clips, seconds: float) -> float:
    """Return clips a second in the steady state: batches are taken as soon as they are ready, so none are prefetched.

    Batches are counted in multiples of the workers: a DataLoader's workers finish a batch each at about the same time.
    """
    for _ in range(2 * clips.num_workers):
        take()
    start = time.perf_counter()
    for taken in itertools.count(1):
        take()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds and taken % clips.num_workers == 0:
            return taken * clips.batch_size / elapsed
    raise AssertionError


def wait_share(take: Take, step_s: float, seconds: float) -> float:
    """Return the share of time that a training waits for clips; a sleep of `step_s` stands for a step on a GPU."""
    waited = elapsed = 0.0
    start = time.perf_counter()
    while elapsed < seconds:
        asked = time.perf_counter()
        take()
        waited += time.perf_counter() - asked
        time.sleep(step_s)
        elapsed = time.perf_counter() - start
    return waited / elapsed


def normalisation_s(grid: TokenGrid, batch_size: int, rounds: int) -> float:
    """Return seconds a clip, on one CPU thread, in which the MAE normalises the tokens of a uint8 batch.

    On a GPU this is part of the step; in the published loader the workers do it.
    """
    encoder = MaskedAutoencoder(MAE_PRESETS["tiny"], grid).encoder
    batch = torch.randint(256, (batch_size, *grid.clip_shape), dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            for clip in batch.split(1):
                (grid.cut(clip) - encoder.mean) / encoder.std
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return sorted(times[1:])[rounds // 2] / batch_size


def processes() -> Any:
    """Return the context that forks processes from a server with all imports, without this process's threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tats_gym.benchmarks.rates"])
    return context
