"""The targets: their values against other implementations, their names, and the contract of one's own."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tats_gym import contracts
from tats_gym.agents.config import PRESETS, PretrainConfig
from tats_gym.commands.train import main
from tats_gym.export import export_encoder
from tats_gym.model.target import Pixels, Target, take
from tats_gym.model.videomae import MAEConfig, MaskedAutoencoder, Reconstruction
from tats_gym.runs.checkpoint import CheckpointError
from tats_gym.targets.features import std_between
from tats_gym.targets.hog import Hog, HogConfig, histograms
from tats_gym.targets.table import TARGETS, build_target, checked_target
from tats_gym.targets.teacher import Teacher
from tats_gym.tokens import TokenGrid
from tests.encoders import CONFIG, GRID, clips_for, features, normalised, random_source
from tests.maes import transformers_mae
from tests.runs import words_of

HIDDEN = torch.tensor([[0, 3, 5], [7, 2, 1], [4, 6, 0], [1, 3, 2]])
"""Two masks of each of two clips."""


def _values(target, clips):
    return target(GRID.cut(clips), HIDDEN)


# --- hog -------------------------------------------------------------------------------------------------------------


def _histogram_by_hand(image, top, left):
    """The histogram of the 8 x 8 cell at a corner of one channel: pixel by pixel, in degrees."""
    bins = np.zeros(9)
    for row in range(top, top + 8):
        for column in range(left, left + 8):
            inside = (0 < row < len(image) - 1, 0 < column < image.shape[1] - 1)
            down = float(image[row + 1, column]) - float(image[row - 1, column]) if inside[0] else 0.0
            across = float(image[row, column + 1]) - float(image[row, column - 1]) if inside[1] else 0.0
            degrees = math.degrees(math.atan2(down, across)) % 180
            bins[int(degrees // 20) % 9] += math.hypot(down, across)
    length = np.linalg.norm(bins)
    return bins / length if length else bins


def test_hog_of_a_token_holds_the_histograms_of_its_cells_frame_by_frame():
    clips = clips_for()
    clips[1, :, 2, :8, :8] = 100  # a cell without gradients but at its border
    clips[1, 2] = 7  # a channel without any
    found = _values(Hog(GRID), clips).unflatten(-1, (2, 2, 2, 3, 9))  # frame, row, column, channel, bin
    for mask, token in ((0, 1), (1, 0), (2, 0), (3, 2)):
        time, height, width = np.unravel_index(HIDDEN[mask, token].item(), GRID.shape)
        for frame, row, column, channel in np.ndindex(2, 2, 2, 3):
            image = clips[mask // 2, channel, 2 * time + frame].numpy()
            expected = _histogram_by_hand(image, 16 * height + 8 * row, 16 * width + 8 * column)
            assert found[mask, token, frame, row, column, channel].numpy() == pytest.approx(expected, abs=1e-5)
    assert (found[2:, ..., 2, :] == 0).all()


def test_hog_is_that_of_scikit_image():
    feature = pytest.importorskip("skimage.feature")
    images = torch.randint(256, (3, 48, 64), generator=torch.Generator().manual_seed(0)).float()
    found = histograms(images, HogConfig())
    for image, ours in zip(images.double().numpy(), found, strict=True):
        theirs = feature.hog(
            image, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(1, 1), block_norm="L2", feature_vector=False
        )
        assert ours.numpy() == pytest.approx(theirs[:, :, 0, 0], abs=1e-5)


@pytest.mark.parametrize(("slope", "bin_"), [((0, 1), 0), ((0, -1), 0), ((1, 0), 4), ((-1, 0), 4), ((1, 1), 2)])
def test_opposite_gradients_are_one_orientation(slope, bin_):
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    found = histograms(slope[0] * rows + slope[1] * columns, HogConfig())
    assert torch.equal(found[1, 1], torch.eye(9)[bin_])  # 0, 90 and 45 degrees, in bins of 20


def test_cells_that_do_not_divide_a_patch_are_refused():
    grid = TokenGrid(frames=4, size=36, patch_size=12, visible=3)
    with pytest.raises(ValueError, match="target hog has cells of 8 pixels, which must divide patch_size 12"):
        build_target("hog", grid, CONFIG)
    assert Hog(grid, HogConfig(cell_size=4)).width == 2 * 9 * 3 * 9


# --- teacher ---------------------------------------------------------------------------------------------------------


def _layer_normed(tokens):
    """Norm each token (..., D) by hand."""
    mean, variance = tokens.mean(-1, keepdim=True), tokens.var(-1, correction=0, keepdim=True)
    return (tokens - mean) / (variance + 1e-5).sqrt()


def _at_hidden(tokens):
    return torch.stack([tokens[mask // 2, ids] for mask, ids in enumerate(HIDDEN)])


def test_the_teachers_features_are_those_of_transformers(tmp_path):
    model = transformers_mae()
    model.save_pretrained(tmp_path / "hf")
    target = build_target(f"teacher:{tmp_path / 'hf'}", GRID, MAEConfig())
    with torch.no_grad():
        tokens = model.videomae(normalised(clips_for()).transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(_values(target, clips_for()), _at_hidden(_layer_normed(tokens)), atol=1e-4, rtol=1e-4)
    assert (target.width, target.distance) == (128, "absolute")


def test_a_teacher_is_a_run_or_an_export_of_it_and_known_by_its_weights(tmp_path):
    source = random_source(tmp_path)
    (file, *_) = export_encoder(source, "safetensors", tmp_path / "out")
    run, export = (Teacher(GRID, str(path)) for path in (tmp_path / "run-1", file))
    expected = _at_hidden(_layer_normed(features(source)))
    for teacher in (run, export):
        torch.testing.assert_close(_values(teacher, clips_for()), expected, atol=1e-4, rtol=1e-4)
    assert run.identity == export.identity
    source.weights["encoder.patch_embed.proj.bias"][3] += 1e-3
    (other, *_) = export_encoder(source, "safetensors", tmp_path / "other")
    assert Teacher(GRID, str(other)).identity != run.identity


def test_a_teacher_has_no_weights_to_train_or_to_save(tmp_path):
    random_source(tmp_path)
    mae = MaskedAutoencoder(CONFIG, GRID, Teacher(GRID, str(tmp_path / "run-1")))
    assert not [name for name in (*mae.state_dict(), *dict(mae.named_parameters())) if name.startswith("target.")]
    mae.train()
    assert (mae.target.training, mae.target.video.training) == (True, False)
    mae(clips_for(), torch.tensor([[0, 1]] * 2)).errors.mean().backward()
    assert all(weights.grad is not None for name, weights in mae.named_parameters() if "pos_embed" not in name)
    assert all(not tensor.requires_grad for tensor in mae.target.video.buffers())


def test_a_teacher_of_other_tokens_is_refused_with_the_clips_that_it_takes(tmp_path):
    random_source(tmp_path)
    name = f"teacher:{tmp_path / 'run-1'}"
    with pytest.raises(
        ValueError, match=r"must divide clips as the MAE does, .* take clips of its size \(frames 4, size 32"
    ):
        build_target(name, TokenGrid(frames=4, size=64), CONFIG)
    with pytest.raises(ValueError, match=r"--target teacher:/nowhere: encoder must be .* or a path that exists"):
        build_target("teacher:/nowhere", GRID, CONFIG)
    (tmp_path / "broken.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"--target teacher:.*broken.pth"):
        build_target(f"teacher:{tmp_path / 'broken.pth'}", GRID, CONFIG)


def test_the_std_between_tokens_by_hand():
    one = torch.tensor([[[1.0, 2.0], [3.0, 2.0]], [[1.0, 5.0], [3.0, -1.0]]])  # variances 1 and (0 + 0 + 9 + 9) / 4
    assert std_between(one).item() == pytest.approx(math.sqrt((1 + 4.5) / 2))
    assert std_between(torch.ones(2, 3, 4)) == 0


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("distance", "expected"), [("squared", [2.5, 4.5]), ("absolute", [1.5, 1.5])])
def test_errors_are_the_mean_distance_of_the_values(distance, expected):
    pred, target = torch.tensor([[[1.0, 2.0], [0.0, 3.0]]]), torch.tensor([[[0.0, 4.0], [0.0, 0.0]]])
    found = Reconstruction(pred, target, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), distance)
    assert found.errors[0].tolist() == expected


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pixel", r"target must be one of .*; got 'pixel'; did you mean 'pixels'\?"),
        ("teacher", "target teacher must be given with a path, as teacher:PATH, got 'teacher'"),
        ("teacher:", "must be given with a path"),
        ("hog:9", "target hog takes no path, got 'hog:9'"),
    ],
)
def test_names_that_are_none_are_answered(name, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(target=name)


def test_a_path_is_kept_as_an_absolute_one_and_a_run_before_targets_predicts_pixels(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert PretrainConfig(target="teacher:runs/a").target == f"teacher:{tmp_path / 'runs' / 'a'}"
    assert [checked_target(name) for name in ("teacher:demo", "mine:Target")] == ["teacher:demo", "mine:Target"]
    older = PRESETS["demo"].as_dict()
    del older["target"]
    assert PretrainConfig.from_dict(older).target == "pixels"


def test_an_mae_of_another_package_has_its_own_target(capsys):
    words = ["--env", "TatsMask-folder-v0", "--own-mae", "tests.own_maes:Means", "--target", "hog"]
    assert "target 'hog' is for tats_gym's MAE" in words_of(main, words, capsys, codes=(1, 2))


# --- The contract, and targets of one's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*TARGETS} - {"teacher"}))
def test_our_targets_keep_the_contract(name, demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    contracts.check_target(name)


def test_a_teacher_keeps_the_contract(tmp_path, demo_root, monkeypatch):
    monkeypatch.setenv("TATS_GYM_DATA", str(demo_root.parent))
    random_source(tmp_path)
    contracts.check_target(f"teacher:{tmp_path / 'run-1'}")


class Broken(Target):
    """Pixels, of which a rule is broken."""

    def __init__(self, grid, change=lambda values: values, name="mine"):
        super().__init__(grid.patch_values, name)
        self.change = change

    def forward(self, patches, ids_hidden):
        return self.change(take(patches, ids_hidden).float())


def trained(grid):
    target = Broken(grid)
    target.scale = torch.nn.Parameter(torch.ones(1))
    return target


BROKEN = {
    "trained": (trained, "must keep its tensors as buffers"),
    "painted": (lambda grid: Broken(grid, name="pixels"), "must have another name than 'pixels'"),
    "narrow": (lambda grid: Broken(grid, lambda values: values[..., :5]), r"must return \(B \* G, M, width\)"),
    "of_the_batch": (lambda grid: Broken(grid, lambda values: values - values.mean()), "must not depend on the other"),
    "in_order": (lambda grid: Broken(grid, lambda values: values.sort(1).values), "in the order of the ids"),
    "random": (lambda grid: Broken(grid, torch.rand_like), "must return the same for the same clips"),
    "doubled": (lambda grid: Broken(grid, lambda values: values.double()), "must return float32"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_target_that_breaks_a_rule_is_told_which(monkeypatch, name):
    module = type(sys)("broken_targets")
    module.build, rule = BROKEN[name]
    monkeypatch.setitem(sys.modules, "broken_targets", module)
    with pytest.raises(AssertionError, match=rule):
        contracts.check_target("broken_targets:build")


def test_a_function_that_makes_no_target_is_told():
    with pytest.raises(TypeError, match=r"--target tests.own_maes:no_model must make a .*Target, got a Linear"):
        build_target("tests.own_maes:no_model", GRID, CONFIG)
    with pytest.raises(ValueError, match="there is no 'nothing' to import"):
        build_target("tests.own_maes:nothing", GRID, CONFIG)


def test_pixels_are_the_default():
    assert isinstance(MaskedAutoencoder(CONFIG, GRID).target, Pixels)
    assert PRESETS["paper-ssv2"].target == "pixels"


def test_the_page_names_every_target():
    text = (Path(__file__).parent.parent / "docs" / "targets.md").read_text()
    rows = text[text.index("| `--target` |") :].split("\n\n")[0].splitlines()[2:]
    assert sorted(row.split("`")[1].removesuffix(":PATH") for row in rows) == sorted(TARGETS)
