"""The benchmark of the environment without video: its arithmetic, and the ways to step that it measures."""

import time

import pytest

from tats_gym.benchmarks.frozen import (
    FORWARD,
    GAIN,
    PLAIN,
    STEP,
    TENSORS,
    FrozenConfig,
    compare,
    report,
    run,
    steps_a_cpu_second,
)
from tats_gym.files.text import parse_json


def test_ratios_are_the_medians_of_those_within_rounds():
    ways = compare({FORWARD: [4000.0, 2000.0, 1000.0], STEP: [3000.0, 1000.0, 900.0], PLAIN: [30.0, 20.0, 10.0]})
    assert ways[STEP]["masks_per_cpu_s"]["median"] == 1000
    assert ways[STEP]["to_forward"] == {"median": 0.75, "rounds": [0.75, 0.5, 0.9]}
    assert ways[STEP]["to_plain"] == {"median": 90, "rounds": [100, 50, 90]}
    assert report(ways)[2].split()[-3:] == ["1,000", "0.75", "90.0"]


def test_a_rate_counts_the_seconds_that_the_process_computed():
    def step():
        start = time.process_time()
        while time.process_time() - start < 0.02:
            pass
        time.sleep(0.05)

    assert steps_a_cpu_second(step, 0.1) == pytest.approx(50, rel=0.2)


def test_every_way_to_step_is_measured_and_recorded(demo_root, tmp_path, capsys):
    run(FrozenConfig(num_envs=2, rounds=1, seconds=1e-6, root=demo_root, results=tmp_path / "new"))
    record = parse_json((tmp_path / "new" / "frozen.json").read_bytes(), "the record")
    assert list(record["ways"]) == [FORWARD, TENSORS, STEP, GAIN, PLAIN]
    assert record["ways"][FORWARD]["to_forward"]["median"] == record["ways"][PLAIN]["to_plain"]["median"] == 1
    assert "frozen.json" in capsys.readouterr().out
    assert "tats-gym benchmark frozen" in record["command"]
