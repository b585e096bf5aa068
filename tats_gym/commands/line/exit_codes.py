"""Exit codes of commands, and the one line that an expected error prints."""

import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tats_gym.clips import VideoReadError
from tats_gym.clips.workers.supervisor import WorkerError
from tats_gym.jobs.parallel import ProcessDiedError
from tats_gym.jobs.work_queue import WorkFailedError
from tats_gym.messages import first_line
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.train.memory import out_of_memory
from tats_gym.train.nonfinite import NonFiniteError
from tats_gym.train.signals import StoppedError, exit_code_of, interrupt_on_system_signals

STDOUT = 1
"""The file descriptor of the standard output."""
EXPLAINED = (
    ValueError, TypeError, OSError, CheckpointError, VideoReadError, WorkerError, NonFiniteError,
    ProcessDiedError, WorkFailedError, ModuleNotFoundError,
)  # fmt: skip
"""Errors whose message suffices for a user; they are printed without a traceback."""


def exit_code(
    run: Callable[[], int | None],
    how_to_go_on: str = "give the same command again to go on",
    how_to_take_less: str = "take fewer clips at once, or a smaller model",
) -> int:
    """Run, and return the exit code: that of `run`, or 0; 1 after an error, which is printed.

    After a stop it is that of `tats_gym.train.signals`. Errors that are not in `EXPLAINED` are raised.

    Args:
        run: The command's work.
        how_to_go_on: Advice that is printed after a stop.
        how_to_take_less: Advice that is printed where memory does not suffice.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    try:
        with interrupt_on_system_signals(), _flushed_output():
            return run() or 0
    except StoppedError as err:
        print(f"stopped: {err}", file=sys.stderr)
        return err.exit_code
    except KeyboardInterrupt as stop:
        print(f"stopped; {how_to_go_on}", file=sys.stderr)
        return exit_code_of(stop)
    except EXPLAINED as err:
        if isinstance(err, BrokenPipeError) and _reader_left():
            return 128 + signal.SIGPIPE
        print(f"error: {_said(err)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as err:
        if not out_of_memory(err):
            raise
        print(f"error: memory does not suffice ({first_line(err)}); {how_to_take_less}", file=sys.stderr)
        return 1


@contextmanager
def _flushed_output() -> Iterator[None]:
    """Flush the output at the end, also after --help, where its error can still be answered."""
    try:
        yield
    finally:
        sys.stdout.flush()


def _reader_left() -> bool:
    """Return whether the program that reads the output, such as `head`, has ended; the rest of it is then dropped."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    return True


def _said(err: Exception) -> str:
    """Return an error's message; of the system's own, the file before the reason, without the number."""
    return f"{err.filename}: {err.strerror}" if isinstance(err, OSError) and err.filename else str(err)
