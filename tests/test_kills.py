"""A training that is killed or asked to end, at instants that are drawn, comes to the very same weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.soak.kills import differences

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent


def test_a_training_that_is_killed_comes_to_the_very_same_weights(tmp_path):
    command = [sys.executable, "-m", "tests.soak.kills", "--kills", "2", "--out", str(tmp_path / "kills.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    record = json.loads((tmp_path / "kills.json").read_text())
    assert done.returncode == 0, record["failures"]
    assert record["failures"] == []
    assert sum(record["ends"].values()) == 4


def test_a_difference_of_one_bit_is_found():
    state = {"a": {"weight": torch.ones(3)}, "steps": [1, {"x": 2.0}]}
    other = {"a": {"weight": torch.ones(3)}, "steps": [1, {"x": 2.0}]}
    assert differences(state, other) == []
    other["a"]["weight"][1] += 1e-7
    other["steps"][1]["x"] = 3.0
    assert differences(state, other) == ["/a/weight", "/steps/1/x"]
    assert differences({"a": 1}, {"b": 1}) == [""]
