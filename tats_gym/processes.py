"""Does many things in processes that share the cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


def default_jobs() -> int:
    """Return how many runs go side by side: as many as there are cores, or one where they would share a GPU."""
    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def side_by_side(
    function: Callable[[In], Out], items: Sequence[In], *, jobs: int, apart: bool = False
) -> Iterator[tuple[In, Out]]:
    """Yield each item with what the function makes of it, as they come, from `jobs` processes that share the cores.

    One job is done in this process. `apart`, every item has a process of its own, so that its peak memory is its own.
    """
    if jobs == 1 and not apart:
        yield from ((item, function(item)) for item in items)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_process,
        initargs=(threads,),
        max_tasks_per_child=1 if apart else None,
    ) as pool:
        futures = {pool.submit(function, item): item for item in items}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_process(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_stop_with_parent, daemon=True).start()


def _stop_with_parent() -> None:
    """Ask this process to save and end when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
