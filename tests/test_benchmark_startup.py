"""The arithmetic of the start-up benchmark."""

from tats_gym.benchmarks.startup import REFERENCE, compare, cpu_seconds, report


def test_ratios_are_of_the_least_seconds():
    starts = compare({REFERENCE: [2.5, 2.0], "tats-gym train --help": [3.0, 4.0]})
    assert starts["tats-gym train --help"] == {"least_s": 3.0, "ratio": 1.5, "rounds_s": [3.0, 4.0]}
    assert [line.split()[-2:] for line in report(starts)[-2:]] == [["2.00", "1.00"], ["3.00", "1.50"]]


def test_seconds_are_those_that_the_process_computed_and_not_those_that_it_slept():
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    assert 0.5 <= cpu_seconds(("-S", "-c", busy)) < 1.0
    assert cpu_seconds(("-S", "-c", "import time; time.sleep(0.5)")) < 0.4
