"""Numbers and texts that the settings of the long commands refuse before any work is done."""

import pytest

from tats_gym.agents.experiments.finetune.study import FinetuneDemo
from tats_gym.agents.experiments.probe.study import ProbeDemo
from tats_gym.agents.experiments.studies.named import StudyConfig
from tats_gym.benchmarks.data import DataConfig
from tats_gym.benchmarks.growth import GrowthConfig
from tats_gym.clips.demo.single_frame import CheckConfig


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StudyConfig("content", seeds=0), "seeds must be at least 1, got 0"),
        (lambda: StudyConfig("content", jobs=0), "jobs must be at least 1, got 0"),
        (lambda: ProbeDemo(points=0), "points must be at least 1, got 0"),
        (lambda: ProbeDemo(train=-1), "train must be at least 1, got -1"),
        (lambda: FinetuneDemo(epochs=0), "^epochs must be at least 1, got 0"),
        (lambda: FinetuneDemo(seed=-1), r"seed must lie in \[0, 2\*\*32\), got -1"),
        (lambda: CheckConfig(motion_epochs=0), "motion_epochs must be at least 1, got 0"),
        (lambda: DataConfig(seconds=0.0), "seconds must be positive, got 0"),
        (lambda: GrowthConfig(preset="paper-ssv3"), "paper-ssv2"),
    ],
)
def test_a_number_out_of_its_range_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("build", [ProbeDemo, FinetuneDemo, lambda **words: StudyConfig("content", **words)])
def test_a_text_in_place_of_a_number_is_refused(build):
    with pytest.raises(TypeError, match="jobs must be a whole number, got 'many'"):
        build(jobs="many")
