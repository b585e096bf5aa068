"""Runs Gymnasium's own tests of spaces, batches and wrappers on our spaces: `python -m tests.gymnasium_suite`.

The tests are published beside Gymnasium's source, not in its wheel, so this needs git and a network, or a checkout.
Ends with pytest's exit code. DIFFERENT names the tests that cannot hold for one of our spaces, and why.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gymnasium

SOURCE = "https://github.com/Farama-Foundation/Gymnasium"
FOLDERS = ("tests/spaces", "tests/vector", "tests/wrappers")

SPACES = {
    "TokenBox((4, 1), (1, 2, 2))": 4,
    "TokenBox((4, 3), (4, 1, 1), low=-1.0, high=1.0)": 12,
    "TokenBox((2, 2, 1), (1, 1, 2))": 4,
    "Subset(8, 2)": 16,
    "Subset(8, 1)": 8,
    "Subset(8, 3, batch=(4,))": 96,
    "ScoreBox(6, 2)": 6,
    "ScoreBox(6, 3, limit=1.0)": 6,
    "ScoreBox(6, 2, batch=(4,))": 24,
}
"""Our spaces, and their flat sizes: the numbers of a Box, and one for each choice of a MultiDiscrete."""

ARGUMENTS = """
    {"shape": (4, 2), "grid_shape": (1, 2, 2)},
    {"num_tokens": 6, "num_visible": 2},
    {"num_tokens": 6, "num_visible": 2},
"""
"""Keywords that make one space of each of our kinds."""

NOT_OURS = ("test_atari_preprocessing", "test_numpy_to_torch")
"""Modules of wrappers' tests that need packages beyond Gymnasium."""

DIFFERENT = {
    "test_space_sample_mask and Subset": "its indices are drawn together, so there is no mask for one of them alone",
    "test_env_obs and Subset": "the zeros that are to be observed before the first observation are not distinct",
}


def main() -> int:
    """Fetch the tests of the installed version, add our spaces, and run them."""
    parser = argparse.ArgumentParser(prog="python -m tests.gymnasium_suite", description=__doc__)
    parser.add_argument("--checkout", type=Path, help="a checkout of Gymnasium; cloned at its tag if not given")
    asked, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        checkout = asked.checkout or clone(Path(folder) / "clone")
        suite = Path(folder) / "suite"
        suite.mkdir()
        archive = subprocess.run(["git", "-C", checkout, "archive", "HEAD", "tests"], check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", suite], input=archive.stdout, check=True)
        add_ours(suite)
        chosen = " and ".join(["(TokenBox or Subset or ScoreBox)", *(f"not ({name})" for name in DIFFERENT)])
        left_out = [f"--ignore=tests/wrappers/{name}.py" for name in NOT_OURS]
        command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-k", chosen, *left_out, *FOLDERS, *more]
        return subprocess.run(command, cwd=suite, env=os.environ | {"PYTHONPATH": str(suite)}).returncode


def clone(folder: Path) -> Path:
    """Clone Gymnasium at the installed version."""
    tag = f"v{gymnasium.__version__}"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", "--branch", tag, SOURCE, folder], check=True)
    return folder


def add_ours(suite: Path) -> None:
    """Add our spaces, after Gymnasium's fundamental ones, to the lists that the tests are parametrised over."""
    ours = "from tats_gym.envs import ScoreBox, Subset, TokenBox\n\nTESTING_FUNDAMENTAL_SPACES += [{}]\n"
    spaces = suite / "tests/spaces"
    insert(ours.format(", ".join(SPACES)), spaces / "utils.py", "TESTING_FUNDAMENTAL_SPACES_IDS = ")
    insert(ARGUMENTS, spaces / "test_spaces.py", '    {"spaces": (Discrete(3), Discrete(2))},  # Tuple')
    masks = "    None,\n" * len(SPACES)
    insert(masks, spaces / "test_spaces.py", "]\n\nassert len(TESTING_FUNDAMENTAL_SPACES) ==")
    sizes = "".join(f"    {size},\n" for size in SPACES.values())
    insert(sizes, spaces / "test_utils.py", "    # Tuple\n")


def insert(text: str, path: Path, following: str) -> None:
    """Insert text into a file before another, which must stand there once."""
    before = path.read_text()
    if before.count(following) != 1:
        raise ValueError(f"expected {following!r} once in {path}, found it {before.count(following)} times")
    path.write_text(before.replace(following, text + following))


if __name__ == "__main__":
    sys.exit(main())
