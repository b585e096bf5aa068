"""A target of the fuzzer, and its permitted answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutators import Mutation

LONGEST_MESSAGE = 2_000
"""Characters of an error; one that repeats a damaged file is of no use."""

READ = "read"
"""The outcome of a file that was read, and found to be right."""


class Fault(AssertionError):  # noqa: N818 -- a finding, not an error for users
    """The code under test broke a rule."""


@dataclass(frozen=True)
class Target:
    """Something that reads files."""

    name: str
    make: Callable[[Path], None]
    """Writes the undamaged files into a folder, the same ones each time."""
    check: Callable[[Path, Path], str]
    """Reads a damaged file within a folder of otherwise undamaged ones, (folder, file), and returns the outcome:
    `READ`, or `refused(...)`. Raises Fault, or an error that the code under test should not raise."""
    damaged: Sequence[str]
    """Patterns of the files that are damaged; the others stay."""
    mutations: Callable[[str], Sequence[Mutation]]
    """By the file's name."""
    decodes: bool = False
    """Its readers are other people's decoders: they may die or hang, which then costs this one file."""
    share: int = 1
    """Inputs, relative to other targets."""


def refused(err: Exception, allowed: Sequence[type[Exception]], *named: str) -> str:
    """Return the outcome of an error that is one of those promised, and names the fault.

    Args:
        err: The raised error.
        allowed: The very types that may be.
        named: The message holds one of these, such as the file's name.

    Raises:
        Fault: If it is another error, is too long, or names no fault.
    """
    message = str(err)
    if type(err) not in allowed:
        raise Fault(f"{type(err).__name__} is not among the errors that are promised: {message[:300]}") from err
    if len(message) > LONGEST_MESSAGE:
        raise Fault(f"a message of {len(message)} characters: {message[:300]} ...") from err
    if not any(name in message for name in named):
        raise Fault(f"the message names none of {named}: {message[:300]}") from err
    return f"{type(err).__name__}: {message}"


def expect(holds: bool, what: str) -> None:
    """Raise Fault unless a condition holds of the read data."""
    if not holds:
        raise Fault(f"read, but {what}")
