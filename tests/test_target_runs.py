"""Runs under other targets than pixels: trained, measured, drawn, saved, resumed, started from, exported."""

import copy
import logging
from dataclasses import replace

import pytest
import torch

from tats_gym.agents.experiments.comparison.measures import reference_mae
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.trained.pictures import PictureConfig, draw
from tats_gym.agents.training.command_line import command_for, without_paths
from tats_gym.agents.training.measures.evaluation import held_out_for
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.agents.training.resume import resume
from tats_gym.commands.export import main as export
from tats_gym.commands.train import main, parse
from tats_gym.encoders.find import EncoderSource
from tats_gym.figures.masks import ClipMasks, Scales, figure_rows
from tats_gym.figures.titles import with_target
from tats_gym.model.target import Target, take
from tats_gym.model.videomae import MAEConfig
from tats_gym.runs.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from tats_gym.runs.folder import begin_run
from tats_gym.targets.ema import Ema, EmaConfig
from tats_gym.targets.table import TargetKind
from tests.encoders import random_mae, write_run
from tests.runs import rows, tiny_config, train, words_of

GRID = tiny_config("", "").grid
MINE = "tests.test_target_runs:Mean"


class Mean(Target):
    """The mean of each token."""

    def __init__(self, grid):
        super().__init__(1, "mean")

    def forward(self, patches, ids_hidden):
        return take(patches, ids_hidden).float().mean(-1, keepdim=True) / 255


def slow(grid, mae):
    return Ema(grid, mae, EmaConfig(start_momentum=0.5, end_momentum=0.75))


SLOW = TargetKind(builder="tests.test_target_runs:slow", needs="mae")


@pytest.fixture(name="teacher")
def _teacher(tmp_path):
    """A run whose encoder is wider and deeper than the students here, and has another number of heads."""
    sizes = MAEConfig(embed_dim=96, depth=2, num_heads=3, decoder_embed_dim=12, decoder_depth=1, decoder_num_heads=2)
    return write_run(tmp_path / "teachers", random_mae(sizes, GRID))


def _same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def _weights(run):
    return run.mae.state_dict() | {f"agent.{name}": value for name, value in run.agent.policy.state_dict().items()}


def _answer(words, capsys, command=main):
    return words_of(command, words, capsys, codes=(1, 2))


@pytest.mark.parametrize("name", ["hog", "ema", "teacher", MINE])
def test_a_run_that_was_stopped_ends_with_the_same_bits(clips_root, tmp_path, teacher, name):
    config = tiny_config(clips_root, tmp_path, target=f"teacher:{teacher}" if name == "teacher" else name)
    whole, _ = train(config)
    stopped, result = train(config)
    assert result.metrics.error_own > 0
    latest_checkpoint(result.folder).unlink()
    again = resume(result.folder)
    assert 0 < again.step < whole.step
    again.run()
    again.close()
    assert _same(_weights(whole), _weights(stopped))
    assert _same(_weights(whole), _weights(again))
    loaded = SavedRun.read(result.folder).agent(config.clips, device="cpu")
    assert _same(loaded.mae.state_dict(), whole.mae.state_dict())
    held_out = held_out_for(config, loaded.mae, num_masks=1)
    assert held_out.errors(held_out.random_ids_keep).mean().item() == pytest.approx(result.metrics.error_random)


def test_training_lowers_the_error_of_every_target(clips_root, tmp_path, teacher):
    for name in ("hog", f"teacher:{teacher}"):
        config = tiny_config(clips_root, tmp_path, target=name)
        _, result = train(replace(config, mae_optim=replace(config.mae_optim, epochs=20, base_lr=0.1)))
        first, *_, last = [row["held_out/error_random"] for row in rows(result.folder) if "held_out/gain" in row]
        assert last < 0.9 * first


# --- teacher ---------------------------------------------------------------------------------------------------------


def test_the_student_predicts_the_teachers_width_and_its_run_holds_no_weights_of_it(clips_root, tmp_path, teacher):
    run, result = train(tiny_config(clips_root, tmp_path, target=f"teacher:{teacher}"))
    state = load_checkpoint(result.folder)
    assert state["mae"]["decoder.head.weight"].shape == (96, 32)
    assert not [name for name in state["mae"] if name.startswith("target.")]
    before = EncoderSource.find(teacher).weights
    assert all(
        torch.equal(value, before[name]) for name, value in run.mae.target.video.named_buffers() if name in before
    )


def test_a_run_goes_on_beside_the_same_teacher_alone(clips_root, tmp_path, teacher):
    config = tiny_config(clips_root, tmp_path, target=f"teacher:{teacher}")
    _, result = train(config)
    moved = tmp_path / "moved"
    teacher.rename(moved)
    with pytest.raises(ValueError, match=rf"--target teacher:{teacher}: encoder must be .* a path that exists"):
        resume(result.folder)
    resume(result.folder, replace(config, target=f"teacher:{moved}")).close()
    changed = write_run(tmp_path / "other", random_mae(MAEConfig(embed_dim=96, depth=2, num_heads=3), GRID))
    for name in (f"teacher:{changed}", "ema", "pixels"):
        with pytest.raises(
            CheckpointError, match=r"the checkpoint predicts the target 'teacher \w{32}', got .* --target"
        ):
            resume(result.folder, replace(config, target=name))
    moved.rename(tmp_path / "away")
    changed.rename(teacher)
    with pytest.raises(CheckpointError, match="of a teacher the weights must be the same, at any path"):
        SavedRun.read(result.folder).agent(config.clips, device="cpu")


# --- ema -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "accumulate", "momenta"),
    [("ema", 1, (0.998, 1.0)), ("ema", 2, (0.998, 1.0)), ("tests.test_target_runs:SLOW", 1, (0.5, 0.75))],
)
def test_the_average_follows_the_encoder_as_by_hand(clips_root, tmp_path, name, accumulate, momenta):
    config = tiny_config(clips_root, tmp_path, target=name)
    run = Pretraining(replace(config, mae_optim=replace(config.mae_optim, accumulate=accumulate)))
    student = {
        name: value for name, value in run.mae.state_dict().items() if name.startswith(("encoder.", "pos_embed."))
    }
    assert _same(run.mae.target.video.state_dict(), student)
    trajectory, follow = [], run.mae.target.after_step

    def record(mae, progress):
        trajectory.append({name: value.double().clone() for name, value in mae.state_dict().items()})
        follow(mae, progress)

    run.mae.target.after_step = record
    expected = {name: value.double().clone() for name, value in student.items()}
    run.run()
    run.close()
    steps = 8 // accumulate
    assert len(trajectory) == run.optimizer.steps == steps
    for number, weights in enumerate(trajectory):
        momentum = momenta[0] + (momenta[1] - momenta[0]) * number / steps
        expected = {name: momentum * value + (1 - momentum) * weights[name] for name, value in expected.items()}
    for name, value in run.mae.target.video.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], atol=1e-6, rtol=1e-6)
    last = run.mae.state_dict()
    assert not torch.equal(last["encoder.norm.weight"], last["target.video.encoder.norm.weight"])


def test_a_frozen_encoder_leaves_its_average_as_it_is(clips_root, tmp_path):
    run, _ = train(tiny_config(clips_root, tmp_path, target="ema", train_mae=False))
    mae = run.mae.state_dict()
    assert all(torch.equal(value, mae[name]) for name, value in run.mae.target.video.state_dict().items())


def test_the_log_shows_a_collapse(clips_root, tmp_path, teacher):
    for name in ("ema", f"teacher:{teacher}"):
        run, result = train(tiny_config(clips_root, tmp_path, target=name))
        logged = [row["mae/target_deviation"] for row in rows(result.folder) if "mae/target_deviation" in row]
        assert len(logged) == 8
        assert all(0.01 < value < 1 for value in logged)
    mae = copy.deepcopy(run.mae)
    mae.target.video.encoder.norm.weight.zero_()  # every token has the same feature
    mae.target.video.encoder.norm.bias.normal_()
    mae(torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8), torch.tensor([[0, 1, 2]] * 2))
    assert mae.statistics()["target_deviation"] == pytest.approx(0, abs=1e-6)
    _, result = train(tiny_config(clips_root, tmp_path))
    assert not any("mae/target_deviation" in row for row in rows(result.folder))


# --- Starting from a run of another target ---------------------------------------------------------------------------


def test_a_head_of_another_target_is_drawn_anew_and_that_is_said(clips_root, tmp_path, caplog):
    config = tiny_config(clips_root, tmp_path)
    _, pixels = train(config)
    before = load_checkpoint(pixels.folder)["mae"]
    with caplog.at_level(logging.WARNING):
        run = Pretraining(replace(config, init_mae=str(pixels.folder), target="hog", seed=1))
    assert f"{pixels.folder} predicts pixels, this MAE hog: its prediction head is drawn anew" in caplog.text
    after = run.mae.state_dict()
    run.close()
    kept = {name for name, value in after.items() if value.shape == before[name].shape and value.equal(before[name])}
    assert after.keys() - kept == {"decoder.head.weight", "decoder.head.bias"}
    caplog.clear()
    Pretraining(replace(config, init_mae=str(pixels.folder), seed=1)).close()
    assert "drawn anew" not in caplog.text


def test_a_run_from_a_run_of_its_target_keeps_head_and_average(clips_root, tmp_path, caplog):
    config = tiny_config(clips_root, tmp_path, target="ema")
    first, result = train(config)
    again = Pretraining(replace(config, init_mae=str(result.folder), seed=1))
    again.close()
    assert _same(again.mae.state_dict(), first.mae.state_dict())
    assert "drawn anew" not in caplog.text
    other = Pretraining(replace(config, init_mae=str(result.folder), target="pixels"))
    other.close()
    assert other.mae.state_dict().keys() == Pretraining(replace(config, target="pixels")).mae.state_dict().keys()
    assert "predicts ema, this MAE pixels" in caplog.text


# --- Pictures, exports, commands -------------------------------------------------------------------------------------


def test_pictures_leave_out_the_reconstruction_and_say_so(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, target="hog")
    _, result = train(config)
    assert result.picture.is_file()
    agent = SavedRun.read(result.folder).agent(config.clips, device="cpu")
    clips = torch.randint(256, (2, *GRID.clip_shape), dtype=torch.uint8)
    seen = [agent.reconstruct(clips, torch.tensor([[0, 1, 2]] * 2), "tats")]
    labels = [row.label.split("\n")[:2] for row in figure_rows(GRID, clips, seen, 0, Scales.of(seen))]
    assert labels == [["frames"], ["error", "of hog"], ["visible tokens"]]
    assert with_target("a.mp4", "hog") == "no reconstruction: the MAE predicts hog, not pixels; a.mp4"
    assert with_target("a.mp4", "pixels") == "a.mp4"
    wide = seen[0].reconstruction
    wide = wide._replace(pred=torch.zeros(2, 5, GRID.patch_values), target=torch.zeros(2, 5, GRID.patch_values))
    seen = [ClipMasks("tats", wide)]  # as wide as pixels are
    assert [row.label for row in figure_rows(GRID, clips, seen, 0, Scales.of(seen))][1].startswith("error")


def test_whole_maes_are_exported_if_they_predict_pixels_and_encoders_in_any_case(clips_root, tmp_path, capsys):
    run, result = train(tiny_config(clips_root, tmp_path, target="hog"))
    for format in ("mae", "mae-hf", "mae-videomae"):
        words = [str(result.folder), "--format", format, "--out", str(tmp_path / format)]
        assert f"format {format} is for MAEs that predict pixels" in _answer(words, capsys, export)
    assert export([str(result.folder), "--format", "safetensors", "--out", str(tmp_path / "encoder")]) == 0
    found = EncoderSource.find(tmp_path / "encoder").weights
    assert all(torch.equal(value, run.mae.state_dict()[name]) for name, value in found.items())


def test_a_reference_must_predict_the_target_of_the_runs(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path, target="ema")
    run, result = train(config)
    assert _same(reference_mae(str(result.folder), config).state_dict(), run.mae.state_dict())
    with pytest.raises(
        ValueError, match=r"the reference must predict the runs' target, 'pixels', got .*, which predicts 'ema'"
    ):
        reference_mae(str(result.folder), replace(config, target="pixels"))


def test_a_file_of_a_run_imports_no_target(clips_root, tmp_path, capsys):
    begin_run(tmp_path / "run", tiny_config(clips_root, tmp_path).as_dict() | {"target": "crafted_targets:build"})
    for words in (["--config", str(tmp_path / "run" / "config.json")], ["--resume", str(tmp_path / "run")]):
        assert "give --target crafted_targets:build to allow it" in _answer(words, capsys)
    _, result = train(tiny_config(clips_root, tmp_path, target=MINE))
    picture = PictureConfig(run=result.folder, out=tmp_path / "pictures", clips=1, forms=("png",), device="cpu")
    with pytest.raises(ValueError, match=rf"give --target {MINE} to allow it"):
        next(draw(picture))
    assert next(draw(replace(picture, target=(MINE,)))).endswith(".png")
    masks = [str(result.folder), "--format", "masks", "--out", str(tmp_path / "masks")]
    assert f"give --target {MINE} to allow it" in _answer(masks, capsys, export)


def test_the_command_gives_the_target_back_and_a_report_hides_its_path():
    config = tiny_config("", "", target="teacher:/home/me/run")
    command = command_for(config)
    assert parse(command.split()[2:]).config.target == config.target
    assert without_paths([config.target, f"--target={config.target}"]) == ["teacher:FOLDER", "--target=teacher:FOLDER"]
