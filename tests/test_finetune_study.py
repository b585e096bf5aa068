"""The study of fine-tuning with and without pre-training, at a size of seconds."""

from dataclasses import replace

import pytest

from tats_gym.agents.experiments.finetune.report import finetune_figure
from tats_gym.agents.experiments.finetune.study import demo_finetune_study, run_finetune_study
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.finetune.run import Finetuning
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint


@pytest.fixture(scope="module", name="study")
def _study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    root = make_demo_data(folder / "demo", train=64, validation=24)
    study = demo_finetune_study(root, pretrain_epochs=1, epochs=2, agent="random")
    clips = replace(study.pretraining.clips, cache_windows=0, num_workers=0)
    pretraining = replace(study.pretraining, device="cpu", eval_clips=2, eval_masks=1, clips=clips)
    return replace(study, pretraining=pretraining, finetuning=replace(study.finetuning, device="cpu", clips=clips))


def test_both_arms_differ_in_their_start_alone_and_a_stopped_study_goes_on(study, tmp_path, monkeypatch):
    outcomes = run_finetune_study(study, tmp_path, jobs=1)
    assert list(outcomes) == ["pre-trained", "from scratch"]
    for outcome in outcomes.values():
        assert [clips for clips, _ in outcome["curve"]] == [64, 128]
        assert outcome["test"]["videos"] == 24
        assert outcome["curve"][-1][1] == outcome["test"]["top1"]
    starts = {}
    for arm in ("pre-trained", "from-scratch"):
        (run,) = (tmp_path / arm).iterdir()
        starts[arm] = load_checkpoint(latest_checkpoint(run))
    assert starts["pre-trained"]["grid"] == starts["from-scratch"]["grid"]
    assert not starts["pre-trained"]["classifier"]["head.weight"].equal(
        starts["from-scratch"]["classifier"]["head.weight"]
    )
    monkeypatch.setattr(Finetuning, "run", None)
    assert run_finetune_study(study, tmp_path, jobs=1) == outcomes


def test_the_picture_shows_both_arms():
    curve = [(64, 0.1), (128, 0.4)]
    picture = finetune_figure(
        {"pre-trained": {"curve": curve}, "from scratch": {"curve": curve[:1]}}, 1 / 12, "motions"
    )
    assert picture.shape == (400, 650, 3)
    without = finetune_figure({"from scratch": {"curve": curve[:1]}}, 1 / 12, "motions")
    assert (picture != without).any()
