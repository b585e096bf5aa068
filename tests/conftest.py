"""Fixtures that several modules share."""

import signal
from pathlib import Path

import pytest
import torch

from tats_gym.clips.demo.files import make_demo_data
from tests.layouts import write_layout

collect_ignore = ["fuzz/corpus"]
"""Damaged files, some of which are named as if they were tests."""

torch.set_num_threads(1)  # many small products, and two runs must add in the same order
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells set it for their background jobs
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take longest, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def clips_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten small videos, one of them held out or more."""
    return write_layout("folder", tmp_path_factory.mktemp("folder"), train=8, validation=2)


@pytest.fixture(scope="session")
def demo_root() -> Path:
    """The demo set itself, made once and kept where users have it."""
    return make_demo_data()
