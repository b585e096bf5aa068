"""The output of experiments: tables, commands that give the numbers again, records and pictures."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tats_gym.agents.experiments.finetune.study import FinetuneDemo
from tats_gym.agents.experiments.probe.study import ProbeDemo
from tats_gym.clips.demo.single_frame import CheckConfig
from tats_gym.results import aligned, command_of, origin_of, write_results


def test_columns_stand_below_each_other():
    assert aligned([["arm", "gain"], ["uniform", "0"], ["", "+1"]]) == ["arm      gain", "uniform  0", "         +1"]


def test_results_go_to_the_records_of_a_checkout_or_beside_the_reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert FinetuneDemo().results == Path("results")
    assert CheckConfig().out == Path("results/demo_single_frame.json")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    assert FinetuneDemo().results == Path("benchmarks/results")
    assert CheckConfig().out == Path("benchmarks/results/demo_single_frame.json")


def test_a_command_asks_for_the_numbers_and_not_for_where_they_lie():
    probes = ProbeDemo(agents=("random", "tats"), epoch_masks=32, jobs=7, out=Path("x"), results=Path("y"))
    assert command_of("tats-gym probe-demo", probes) == ("tats-gym probe-demo --agents random tats --epoch-masks 32")
    assert command_of("tats-gym finetune-demo", FinetuneDemo()) == "tats-gym finetune-demo"
    assert command_of("tats-gym finetune-demo", FinetuneDemo(agent="my agents:build", seed=3)) == (
        "tats-gym finetune-demo --agent 'my agents:build' --seed 3"
    )


def test_numbers_have_the_commits_of_all_runs():
    found = origin_of([{"commit": "zz"}, {"commit": None}, {"commit": "zz"}])
    assert set(found["commits"]) == {"zz", None, found["commit"]}
    assert found["commits"].count("zz") == 1


def test_a_record_and_its_picture_keep_a_name_with_a_point(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    said = write_results(tmp_path / "study_v1.5", {"seeds": [0]}, picture)
    assert said.split() == ["numbers:", str(tmp_path / "study_v1.5.json"), "picture:", str(tmp_path / "study_v1.5.png")]
    assert json.loads((tmp_path / "study_v1.5.json").read_text()) == {"seeds": [0]}
    assert np.array_equal(np.asarray(Image.open(tmp_path / "study_v1.5.png").convert("RGB")), picture)
    assert write_results(tmp_path / "table", {}) == f"numbers: {tmp_path / 'table.json'}"
    assert not (tmp_path / "table.png").exists()
