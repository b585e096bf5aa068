"""Runs tests on a mutant, in a fork of a process that has imported all but the mutated module."""

import ast
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
import torch

OURS = frozenset(f"tests.mutation.{name}" for name in ("__main__", "core", "mutants", "trial")) | {"tests.mutation"}
LIMIT_S = 600
"""Seconds after which a trial is killed that waits without computing."""
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-m", "not slow and not gpu")
NEVER_IMPORTED = 99
"""Exit status of a trial whose tests passed without the mutated module."""
NO_VERDICT = frozenset({NEVER_IMPORTED, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED})
"""Exit statuses that do not concern the mutant."""
TIME_OUTS = frozenset({-signal.SIGXCPU, -signal.SIGALRM})
"""Exit statuses of a trial that was killed at its limit."""

os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
torch.set_num_threads(1)
torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # its first call imports sympy
importlib.import_module("torch._dynamo")  # as the first optimiser would
hypothesis.settings.register_profile(
    "mutation",
    derandomize=True,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("mutation")


class _Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module's mutated source in the place of its own."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self.source = source

    def get_code(self, fullname):
        return compile(self.source, self.path, "exec", dont_inherit=True)


class Substitute(importlib.abc.MetaPathFinder):
    """Finds one module as a mutant, or, without a source, not at all."""

    def __init__(self, name: str, path: Path, source: str | None = None) -> None:
        self.name, self.path, self.source = name, str(path), source

    def find_spec(self, fullname, path, target=None):
        if fullname != self.name:
            return None
        if self.source is None:
            raise ImportError(f"{fullname} is left out", name=fullname)
        loader = _Mutated(fullname, self.path, self.source)
        return importlib.util.spec_from_file_location(fullname, self.path, loader=loader)


def import_for(tests: Sequence[str], left_out: Substitute) -> None:
    """Import afresh the modules that test files import, without a module and without those that import it."""
    for name in [name for name in sys.modules if name.startswith(("tats_gym.", "tests.")) and name not in OURS]:
        del sys.modules[name]
    sys.meta_path.insert(0, left_out)
    with warnings.catch_warnings(action="ignore"):
        for name in dict.fromkeys(name for test in ("tests/conftest.py", *tests) for name in _imported_by(test)):
            with suppress(ImportError):
                importlib.import_module(name)
    sys.meta_path.remove(left_out)


def _imported_by(test: str) -> Iterator[str]:
    for statement in ast.parse(Path(test).read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module


def run_tests(mutated: Substitute, tests: Sequence[str], limit_s: float) -> tuple[int, float]:
    """Run test files on a mutant until one fails.

    Returns:
        The exit status of pytest, or minus the signal that ended the trial; and the seconds that it computed.
    """
    gc.freeze()  # or a collection in the fork would copy the pages of all that is imported
    process = os.fork()
    if not process:
        _trial(mutated, tests, limit_s)
    gc.unfreeze()
    _, status, usage = os.wait4(process, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _trial(mutated: Substitute, tests: Sequence[str], limit_s: float) -> None:
    """Run the tests and end this process."""
    status = NEVER_IMPORTED
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s) + 1, resource.RLIM_INFINITY))
        signal.alarm(LIMIT_S)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.meta_path.insert(0, mutated)
        status = int(pytest.main([*OPTIONS, *tests]))
        if status == 0 and mutated.name not in sys.modules:
            status = NEVER_IMPORTED
    except BaseException:
        status = 1
    finally:
        os._exit(status)
