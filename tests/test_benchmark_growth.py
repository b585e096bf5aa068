"""The growth benchmark's summary of its measurements."""

import pytest

from tats_gym.benchmarks.growth import exponents, picture, report


def _points(values, power):
    return [
        {
            "value": value,
            "tokens": 98 * value,
            "s_a_step": 3.0 * value**power,
            "gflop_a_step": 5.0 * value**power,
            "peak_memory_mib": 900 + 10.0 * (value - values[0]) ** power,
        }
        for value in values
    ]


@pytest.mark.parametrize("power", [1, 2])
def test_exponents_are_those_of_the_last_doubling_and_leave_out_a_process_s_own_memory(power):
    found = exponents(_points([16, 32, 64], power))
    assert found == pytest.approx({"s_a_step": power, "gflop_a_step": power, "peak_memory_mib": power}, abs=0.01)
    assert exponents(_points([16, 32], power)) == {}


def test_every_axis_has_a_table_and_two_panels():
    record = {"axes": {"batch_size": _points([1, 2, 4], 1), "frames": _points([16, 32], 2)}}
    lines = report(record)
    assert lines[0].split("  ")[0] == "clips in a step (num_envs)"
    assert "frames in a clip" in "\n".join(lines)
    drawn = picture(record, "demo")
    assert drawn.shape == (550, 1000, 3)
    assert drawn.std() > 10
