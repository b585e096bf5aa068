"""Runs of older versions, whose settings and numbers had other names."""

import json

import pytest

from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.agents.experiments.trials.trial import read_row
from tats_gym.runs.metrics import pretraining_metrics, speed


def test_settings_of_an_older_form_are_those_of_the_present_one():
    preset = PRESETS["demo"]
    values = preset.as_dict()
    values["epoch_clips"] = values.pop("epoch_masks")
    values["sampler"]["positions"] = values["sampler"].pop("pos_embed")
    values["sampler"]["position_std"] = values["sampler"].pop("pos_embed_std")
    older = json.loads(json.dumps(values))
    assert (older["epoch_clips"], older["sampler"]["positions"]) == (1600, "learned")
    assert PretrainConfig.from_dict(older) == preset


def test_a_damaged_form_is_an_error_that_names_the_field():
    with pytest.raises(TypeError, match=r"sampler must be an object with the fields of SamplerConfig, got \[1\]"):
        PretrainConfig.from_dict({"sampler": [1]})
    with pytest.raises(TypeError, match=r"PretrainConfig must be an object with the fields of PretrainConfig, got 3"):
        PretrainConfig.from_dict(3)


def test_the_speed_of_an_older_run_is_read(tmp_path):
    rows = [{"step": 32 * i, f"time/{name}": 10.0, "time/peak_memory_mib": 1.0} for i, name in enumerate(
        ("clips_per_s", "clips_per_s", "masks_per_s"), start=1
    )]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert speed(pretraining_metrics(tmp_path)) == {"masks_per_s": 10.0, "peak_memory_mib": 1.0}
    (tmp_path / "row.json").write_text('{"gain": 0.5, "clips_per_s": 10.0}')
    assert read_row(tmp_path) == {"gain": 0.5, "masks_per_s": 10.0}
