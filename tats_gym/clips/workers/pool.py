"""A pool of replaceable worker processes: a file that hangs or crashes a decoder costs one task."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from tats_gym.clips.readers import VideoReadError
from tats_gym.clips.workers.supervisor import Answer, Supervisor, TaskFailure, WorkerError

In = TypeVar("In")
Out = TypeVar("Out")


class WorkerPool:
    """Calls one function in worker processes; answers arrive in the order of completion.

    Args:
        function: Picklable. If it raises VideoReadError, the answer is a `TaskFailure`.
        num_workers: Number of processes.
        time_limit_s: A task that takes longer fails, and its worker is killed and replaced; None sets no limit.
        memory_limit_mib: A worker that exceeds it is replaced after its task; a task that takes twice as much fails.
            None sets no limit.
        pass_fds: File descriptors that the workers inherit under the same numbers.

    Raises:
        WorkerError: If workers do not start or the function raises another error; `next` raises it.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        num_workers: int,
        *,
        time_limit_s: float | None = None,
        memory_limit_mib: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        memory_limit = None if memory_limit_mib is None else memory_limit_mib * 2**20
        self._supervisor = Supervisor(function, num_workers, time_limit_s, memory_limit, pass_fds)
        self._supervisor.start()
        self._close = weakref.finalize(self, self._supervisor.close)

    def submit(self, number: int, task: Any) -> None:
        """Queue a task; its answer carries the same `number`."""
        self._supervisor.submit(number, task)

    def next(self) -> Answer:
        """Wait for the next answer; at least one task must be unanswered."""
        answer = self._supervisor.answers.get()
        if isinstance(answer, BaseException):
            self._supervisor.answers.put(answer)  # for later calls
            raise WorkerError(str(answer)) from answer
        return answer

    def close(self) -> None:
        """Kill the workers and drop unanswered tasks."""
        self._close()


def run_all(
    function: Callable[[In], Out],
    tasks: Iterable[In],
    *,
    num_workers: int,
    time_limit_s: float | None = None,
    memory_limit_mib: int | None = None,
) -> Iterator[tuple[In, Out | TaskFailure]]:
    """Call a function with every task; yield each task with its result or `TaskFailure`, as they complete.

    Args:
        function: See `WorkerPool`.
        tasks: Consumed a few ahead of the workers.
        num_workers: Number of processes; 0 calls the function in this process, without limits.
        time_limit_s: See `WorkerPool`.
        memory_limit_mib: See `WorkerPool`.
    """
    if not num_workers:
        for task in tasks:
            try:
                result: Out | TaskFailure = function(task)
            except VideoReadError as err:
                result = TaskFailure(str(err))
            yield task, result
        return
    pool = WorkerPool(function, num_workers, time_limit_s=time_limit_s, memory_limit_mib=memory_limit_mib)
    try:
        coming = enumerate(tasks)
        under_way: dict[int, In] = {}
        while True:
            for number, task in islice(coming, 4 * num_workers - len(under_way)):
                under_way[number] = task
                pool.submit(number, task)
            if not under_way:
                return
            answer = pool.next()
            yield under_way.pop(answer.number), answer.result
    finally:
        pool.close()
