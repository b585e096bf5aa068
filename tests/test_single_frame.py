"""The check of the demo's single frames, at a size of seconds."""

import json
import statistics

import pytest
import torch

from tats_gym.clips.demo.scenes import DEMO_CLASSES
from tats_gym.clips.demo.single_frame import CheckConfig, changes, check


def test_changes_are_half_of_the_differences_around_grey():
    clip = torch.tensor([100, 121, 100, 100], dtype=torch.uint8).reshape(1, 4, 1, 1, 1).expand(-1, -1, 3, -1, -1)
    assert changes(clip).flatten().tolist() == [138] * 3 + [117] * 3 + [128] * 3


def test_both_accuracies_are_written(tmp_path):
    out = tmp_path / "new" / "result.json"
    config = CheckConfig(train=24, validation=len(DEMO_CLASSES), frame_epochs=1, motion_epochs=1, out=out)
    *said, text = check(config, "tats-gym check-demo")
    assert said[0] == "rendered 36 clips"
    assert said[1].startswith("one frame: ")
    result = json.loads(out.read_text())
    assert json.loads(text) == result
    assert result["command"] == "tats-gym check-demo"
    assert "out" not in result["config"]
    assert {"commit", "date", "machine", "versions"} < set(result)
    for name in ("single_frame", "motion"):  # a clip of each class
        found = result[name]
        assert found["accuracy"] == pytest.approx(statistics.mean(found["per_class"].values()), abs=1e-4)
        assert found["interval_95"][0] < found["accuracy"] < found["interval_95"][1] or found["accuracy"] in (0, 1)
