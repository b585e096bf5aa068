"""The benchmarks run, their peer does as the published loader is defined, and their sums are right."""

import json
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tats_gym.benchmarks import data, rates, record, videos
from tats_gym.benchmarks.peers import PublishedClips, published_loader, tube_mask
from tats_gym.tokens import TokenGrid
from tests.runs import load_command
from tests.video_files import noise_frames, write_video

ROOT = Path(__file__).parent.parent
GRID = TokenGrid(frames=4, size=32, visible=1)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for number in range(2):
        write_video(root / f"{number}.mp4", noise_frames(12, 48, 64))
    return root


@pytest.fixture(name="main")
def _main():
    return load_command("benchmark").main


@pytest.mark.parametrize(("arguments", "wanted"), [(["--help"], "data"), (["data", "--help"], "--num-workers")])
def test_help_names_the_benchmarks_and_their_settings(main, capsys, arguments, wanted):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert wanted in capsys.readouterr().out


def test_everything_is_measured_once_a_round_and_written(main, folder, tmp_path, capsys):
    main(["data", "--root", str(folder), "--stride", "2", "--frames", "4", "--size", "80", "--num-workers", "1",
          "--batch-size", "2", "--rounds", "1", "--seconds", "0.1", "--step-s", "0.01", "--label", "tiny",
          "--results", str(tmp_path)])  # fmt: skip
    written = json.loads((tmp_path / "data_tiny.json").read_text())
    assert written["command"].startswith("tats-gym benchmark data --root FOLDER --stride 2 --num-workers 1 ")
    assert str(tmp_path) not in written["command"]
    assert written["machine"]["processor"]
    assert written["normalisation_ms_a_clip"] > 0
    found = written["videos"]["folder"]
    assert (found["files"], found["stride"]) == (2, 2)
    assert set(found["one_process"]) == set(data.readers())
    rate = {name: found[name]["median"] for name in ("ours", "theirs", "processes_without_loader")}
    assert min(rate.values()) > 0
    assert found["loss_to_plumbing"]["median"] == pytest.approx(
        1 - rate["ours"] / rate["processes_without_loader"], abs=1e-3
    )
    assert found["ours_over_theirs"]["rounds"] == pytest.approx([rate["ours"] / rate["theirs"]], rel=1e-3)
    cost = 1 / rate["ours"] + written["normalisation_ms_a_clip"] / 1000
    ratio = found["ours_over_theirs_if_normalised_on_the_cpu"]["median"]
    assert ratio == pytest.approx(1 / cost / rate["theirs"], rel=0.02)
    assert all(0 < found["wait_share_of_emulated_steps"][name]["median"] < 1 for name in ("ours", "theirs"))
    assert "target at least 1.5" in capsys.readouterr().out


def test_made_videos_have_their_format_and_are_made_once(tmp_path):
    folder = videos.make_videos("vp9", contents=1, copies=2, cache=tmp_path)
    one, other = sorted(folder.iterdir())
    assert one.read_bytes() == other.read_bytes()
    with av.open(str(one)) as container:
        stream = container.streams.video[0]
        assert "vp9" in stream.codec_context.name
        assert (stream.width, stream.height, stream.average_rate) == (426, 240, 12)
        assert sum(1 for _ in container.decode(stream)) == 48
    written = one.stat().st_mtime_ns
    assert videos.make_videos("vp9", contents=1, copies=2, cache=tmp_path) == folder
    assert one.stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]  # no half-made file is left


def test_the_noise_is_the_same_for_a_seed_and_moves():
    first, second = (next(videos.noise_video(48, 64, seed)) for seed in (0, 0))
    np.testing.assert_array_equal(first, second)
    frames = videos.noise_video(48, 64, 0)
    one, two = next(frames), next(frames)
    assert (one.shape, one.dtype) == ((48, 64, 3), np.uint8)
    assert 0 < np.abs(one.astype(int) - two).mean() < 40
    assert not np.array_equal(next(videos.noise_video(48, 64, 1)), one)


def test_the_peer_normalises_with_imagenets_mean_and_deviation():
    frames = np.empty((4, 48, 64, 3), np.uint8)
    frames[:] = (51, 102, 204)  # 0.2, 0.4, 0.8
    clip = PublishedClips([], GRID, 1).augment(frames, np.random.default_rng(0))
    assert (clip.shape, clip.dtype) == ((3, 4, 32, 32), torch.float32)
    by_hand = [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.8 - 0.406) / 0.225]
    for channel, value in zip(clip, by_hand, strict=True):
        assert torch.allclose(channel, torch.tensor(value), atol=1e-6)


def test_the_peer_cuts_one_box_from_all_frames_and_resizes_it_as_pillow_does(monkeypatch):
    monkeypatch.setattr("tats_gym.benchmarks.peers.multi_scale_crop_box", lambda *_: (4, 8, 40, 30))
    frames = noise_frames(4, 48, 64)
    clip = PublishedClips([], GRID, 1).augment(frames, np.random.default_rng(0))
    last = Image.fromarray(frames[3, 4:44, 8:38]).resize((32, 32), Image.Resampling.BILINEAR)
    red = (np.asarray(last)[..., 0] / 255 - 0.485) / 0.229
    np.testing.assert_allclose(clip[0, 3].numpy(), red, atol=1e-5)


def test_a_tube_mask_hides_the_same_share_of_every_frame():
    mask = tube_mask(TokenGrid(), 0.9, np.random.default_rng(0)).reshape(8, 196)
    assert (mask.sum(axis=1) == 176).all()
    assert (mask == mask[0]).all()
    assert set(np.unique(mask)) == {0, 1}
    assert not np.array_equal(mask[0], tube_mask(TokenGrid(), 0.9, np.random.default_rng(1))[:196])


def test_the_peers_loader_gives_whole_batches_without_end(folder):
    paths = sorted(folder.iterdir())
    batches = iter(published_loader(paths, GRID, 2, batch_size=3, num_workers=1))
    for _ in range(3):
        clips, masks = next(batches)
        assert (clips.shape, clips.dtype, masks.shape) == ((3, 3, 4, 32, 32), torch.float32, (3, 8))
        assert not torch.equal(clips[0], clips[1])


def test_the_share_of_waiting_is_the_duration_of_taking():
    share = rates.wait_share(lambda: time.sleep(0.03), step_s=0.01, seconds=0.2)
    assert share == pytest.approx(0.75, abs=0.1)


def test_a_loaders_rate_counts_clips_a_second():
    clips = rates.Clips(root=ROOT, stride=1, grid=GRID, batch_size=4, num_workers=1)
    assert rates.loader_rate(lambda: time.sleep(0.02), clips, 0.2) == pytest.approx(200, rel=0.2)


def test_a_command_names_no_path_and_only_the_changed_settings(tmp_path):
    config = data.DataConfig(root=tmp_path, results=tmp_path, kinds=("vp9",), step_s=0.5)
    words = "--kinds vp9 --root FOLDER --step-s 0.5"
    assert record.command("data", config) == f"tats-gym benchmark data {words}"


def test_over_rounds_keeps_all_and_says_the_median():
    assert record.over_rounds([3.0, 1.0, 2.0]) == {"median": 2.0, "rounds": [3.0, 1.0, 2.0]}
