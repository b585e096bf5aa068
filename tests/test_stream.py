"""The stream's clips follow from seed and position alone, and broken videos are replaced and counted."""

from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream
from tests.video_files import frame_numbers, noise_frames, numbered_frames, write_video

VIDEOS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five videos of noise; all of them are in the training split."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        write_video(root / f"{number}.mp4", noise_frames(20 + number, 40, 64))
    return root


@contextmanager
def stream_of(root, *, seed=0, frames=4, size=16, shard=(0, 1), **settings):
    config = ClipConfig(data="folder", root=str(root), **settings)
    with closing(ClipStream(config, frames=frames, size=size, seed=seed, shard=shard)) as stream:
        yield stream


def same(one, other):
    return torch.equal(one.pixels, other.pixels) and torch.equal(one.ids, other.ids)


def test_a_batch_holds_uint8_clips_their_ids_and_labels(folder):
    with stream_of(folder) as stream:
        batch = stream.take(3)
        assert len(stream) == VIDEOS
        assert (batch.pixels.shape, batch.pixels.dtype) == ((3, 3, 4, 16, 16), torch.uint8)
        assert (batch.ids.shape, batch.ids.dtype) == ((3,), torch.int64)
        assert (batch.labels.tolist(), batch.labels.dtype) == ([-1, -1, -1], torch.int64)
        assert stream.position == 3
        assert stream.wait_s > 0


def test_an_epoch_holds_every_clip_once_and_each_has_its_own_order(folder):
    with stream_of(folder) as stream:
        epochs = [stream.take(VIDEOS).ids.tolist() for _ in range(4)]
        assert all(sorted(epoch) == list(range(VIDEOS)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > 1
    with stream_of(folder, seed=1) as other:
        assert [other.take(VIDEOS).ids.tolist() for _ in range(4)] != epochs


def test_a_video_is_cut_anew_each_epoch(folder):
    with stream_of(folder) as stream:
        epochs = [stream.take(VIDEOS) for _ in range(2)]
    first, second = (batch.pixels[batch.ids.argsort()] for batch in epochs)
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_keeping_videos_decoded_changes_no_clip(folder, num_workers):
    with stream_of(folder) as plain, stream_of(folder, cache_mib=1, num_workers=num_workers) as kept:
        for _ in range(3):
            assert same(plain.take(VIDEOS), kept.take(VIDEOS))


def test_workers_and_batch_sizes_change_no_clip(folder):
    with stream_of(folder) as alone, stream_of(folder, num_workers=2) as helped:
        whole = alone.take(12)
        parts = [helped.take(count) for count in (1, 7, 4)]
        assert torch.equal(whole.pixels, torch.cat([part.pixels for part in parts]))
        assert torch.equal(whole.ids, torch.cat([part.ids for part in parts]))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_seek_goes_on_as_an_uninterrupted_stream_would(folder, num_workers):
    with stream_of(folder) as stream:
        stream.take(7)
        expected = stream.take(4)
    with stream_of(folder, num_workers=num_workers) as resumed:
        resumed.take(2)
        resumed.seek(7)
        assert same(resumed.take(4), expected)
        assert resumed.position == 11
        resumed.seek(7, seed=1)
        assert not same(resumed.take(4), expected)
        resumed.seek(7, seed=0)
        assert same(resumed.take(4), expected)


def test_seeking_within_the_clips_decoded_ahead_keeps_the_workers(folder):
    with stream_of(folder, num_workers=1) as stream:
        first = stream.take(2)
        workers = stream._train_loader
        stream.seek(1)
        later = stream.take(3)
        stream.seek(0)
        assert same(stream.take(2), first)
        assert torch.equal(later.pixels[0], first.pixels[1])
        assert stream._train_loader is workers


@pytest.mark.parametrize("num_workers", [0, 1])
def test_repeats_are_other_views_of_one_window(tmp_path, num_workers):
    for number in range(3):
        frames = noise_frames(1, 40, 64) // 8 + numbered_frames(20, 40, 64) // 2
        write_video(tmp_path / f"{number}.mp4", frames)
    with stream_of(tmp_path, repeats=3, num_workers=num_workers) as stream:
        assert len(stream) == 9
        epoch = stream.take(9)
        assert epoch.ids.view(3, 3).eq(epoch.ids.view(3, 3)[:, :1]).all()
        assert sorted(epoch.ids[::3].tolist()) == [0, 1, 2]
        levels = epoch.pixels.float().mean((1, 3, 4)).view(3, 3, 4)  # (video, view, T): which frames they are
        assert (levels - levels[:, :1]).abs().max() < 1.5  # frames differ by 3 levels from one to the next
        views = epoch.pixels.view(3, 3, -1)
        assert not torch.equal(views[:, 0], views[:, 1])
        assert not torch.equal(views[:, 1], views[:, 2])
        stream.seek(2)  # in the middle of a window
        assert torch.equal(torch.cat([stream.take(2).pixels, stream.take(5).pixels]), epoch.pixels[2:])


def test_ranks_share_an_epoch(folder):
    with stream_of(folder) as alone, stream_of(folder, shard=(0, 2)) as one, stream_of(folder, shard=(1, 2)) as two:
        whole, parts = alone.take(VIDEOS), [each.take(3) for each in (one, two)]
        assert len(one) == len(two) == 3  # 5 videos: one is taken twice
        assert torch.equal(torch.stack([part.ids for part in parts], 1).flatten()[:VIDEOS], whole.ids)
        assert torch.equal(parts[0].pixels, whole.pixels[::2])
        assert torch.equal(parts[1].pixels[:2], whole.pixels[1::2])
        assert parts[1].ids[2] == whole.ids[0]


def test_taking_clips_leaves_the_global_random_states_alone(folder):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with stream_of(folder) as stream:
        stream.take(2)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_the_centre_view_is_the_window_and_the_square_in_the_middle(tmp_path):
    frames = numbered_frames(30, 32, 64)
    frames[:, :, :16] = frames[:, :, 48:] = 255  # to be cut off
    write_video(tmp_path / "v.mp4", frames)
    with stream_of(tmp_path, size=32, stride=3) as stream:
        batch = stream.centre([0, 0])
    # 30 frames, of which the window takes 12: it starts at 9.
    assert frame_numbers(batch.pixels[0, :, :, :, 4:-4].permute(1, 2, 3, 0).numpy()) == [9, 12, 15, 18]
    assert torch.equal(batch.pixels[0], batch.pixels[1])
    assert batch.ids.tolist() == [0, 0]


def test_the_centre_crop_can_be_taken_too(tmp_path):
    frames = np.zeros((2, 32, 96, 3), np.uint8)
    frames[:, :, 28:68] = 200
    write_video(tmp_path / "v.mp4", frames)
    with stream_of(tmp_path, crop="centre") as stream:
        assert stream.take(8).pixels.amin() > 150


def test_the_other_crop_and_the_flip_are_as_described(tmp_path):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[:, :, :32] = 200  # the left is bright
    write_video(tmp_path / "v.mp4", frames)
    with stream_of(tmp_path, crop="centre") as plain, stream_of(tmp_path, crop="centre", flip=True) as flipped:
        levels = [(stream.take(40).pixels[..., :4].float().mean((1, 2, 3, 4)) > 100) for stream in (plain, flipped)]
    assert levels[0].all()
    assert 10 <= levels[1].sum() <= 30
    with stream_of(tmp_path, crop="random_resized") as stream:
        share = (stream.take(60).pixels.float() > 100).float().mean((1, 2, 3, 4))
    assert share.min() < 0.45
    assert share.max() > 0.55


def test_random_resized_crops_go_down_to_the_share_that_is_set(tmp_path):
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[:, :, :32] = 200
    write_video(tmp_path / "v.mp4", frames)
    with stream_of(tmp_path, crop="random_resized", crop_scale=0.05) as stream:
        share = (stream.take(60).pixels.float() > 100).float().mean((1, 2, 3, 4))
    assert (share.min(), share.max()) == (0, 1)  # which a crop of at least half of the frame cannot be


@pytest.mark.parametrize("cache_windows", [0, 2])
def test_segments_take_one_frame_from_each_part_of_the_whole_video(tmp_path, cache_windows):
    write_video(tmp_path / "videos" / "v.mp4", numbered_frames(40))
    settings = {"sampling": "segments", "cache_windows": cache_windows, "cache_dir": str(tmp_path / "kept")}
    with stream_of(tmp_path / "videos", **settings) as stream:
        numbers = [frame_numbers(clip.permute(1, 2, 3, 0).numpy()) for clip in stream.take(60).pixels]
        centre = stream.centre([0]).pixels[0]
    parts = np.array(numbers) // 10
    assert (parts == [0, 1, 2, 3]).all()
    assert len({tuple(window) for window in numbers}) == (cache_windows or 60)
    assert frame_numbers(centre.permute(1, 2, 3, 0).numpy()) == [5, 15, 25, 35]


DISTORTED = {"randaug": "rand-m9-n2-mstd0.5-inc1", "erase": 0.5, "crop": "random_resized", "crop_scale": 0.08}


def test_distorted_clips_follow_from_the_seed_too(folder):
    with (
        stream_of(folder, repeats=2, **DISTORTED) as alone,
        stream_of(folder, repeats=2, num_workers=2, **DISTORTED) as helped,
    ):
        whole = alone.take(8)
        helped.seek(3)
        assert torch.equal(torch.cat([helped.take(2).pixels, helped.take(3).pixels]), whole.pixels[3:])
        alone.seek(3)
        assert torch.equal(alone.take(5).pixels, whole.pixels[3:])


def test_a_test_sees_videos_as_they_are(folder):
    with stream_of(folder) as plain, stream_of(folder, **DISTORTED) as distorted:
        assert torch.equal(plain.views([2], spatial=3).pixels, distorted.views([2], spatial=3).pixels)
    assert ClipConfig(data="folder", **DISTORTED).held_out == ClipConfig(
        data="folder", split="validation", crop="random_resized", crop_scale=0.08
    )


def test_each_view_of_a_window_is_distorted_anew(tmp_path):
    write_video(tmp_path / "v.mp4", np.full((4, 32, 32, 3), 90, np.uint8))
    with stream_of(tmp_path, repeats=40, crop="centre", randaug="rand-m9-n2-p1-mstd0.5-inc1") as stream:
        levels = stream.take(40).pixels.float().mean((1, 2, 3, 4))
    assert len(levels.round().unique()) > 8  # of one grey, by the strength of its distortion


def test_folds_subsets_and_indices_reach_the_list(folder, tmp_path):
    with stream_of(folder, subset=3) as stream, stream_of(folder, subset=3, subset_seed=5) as other:
        assert len(stream) == len(other) == 3
        assert stream.videos != other.videos
    with pytest.raises(FileNotFoundError, match="index: there is no file"), stream_of(folder, index="/nowhere.jsonl"):
        pass


def test_paths_are_kept_as_they_are_named_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config = ClipConfig(data="folder", root="videos", index="~/indices", cache_dir="../cache")
    assert (config.root, config.index) == (f"{tmp_path}/videos", f"{tmp_path}/home/indices")
    assert config.cache_dir == f"{tmp_path}/../cache"  # where `videos` is a link, .. is not the folder above it
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert replace(config, stride=3).root == config.root
    kept = ClipConfig(data="folder", index="none")
    assert (kept.root, kept.index, kept.cache_dir) == (None, "none", None)


def test_held_out_clips_are_all_of_theirs(tmp_path):
    taken = ClipConfig(data="folder", subset=3, repeats=2, index=str(tmp_path / "train.jsonl")).held_out
    assert (taken.split, taken.subset, taken.index, taken.repeats) == ("validation", None, None, 1)
    assert ClipConfig(data="folder", index=str(tmp_path)).held_out.index == str(tmp_path)
    assert ClipConfig(data="folder", index="none").held_out.index == "none"


def test_videos_shorter_than_the_window_repeat_their_last_frame(tmp_path):
    write_video(tmp_path / "v.mp4", numbered_frames(3))
    with stream_of(tmp_path) as stream:
        pixels = stream.take(1).pixels[0]
    assert frame_numbers(pixels.permute(1, 2, 3, 0).numpy()) == [0, 2, 2, 2]


@pytest.mark.parametrize(("ids", "bad"), [([0, 5], "5"), ([-1], "-1")])
def test_ids_outside_the_dataset_are_refused(folder, ids, bad):
    with stream_of(folder) as stream, pytest.raises(IndexError, match=rf"ids must lie in \[0, 5\), got {bad}"):
        stream.centre(ids)


def test_arguments_out_of_range_are_refused(folder):
    with (
        pytest.raises(ValueError, match="frames must be at least 1, got 0"),
        stream_of(folder, frames=0),
    ):
        pass
    with stream_of(folder) as stream:
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            stream.take(0)
        with pytest.raises(ValueError, match="position must not be negative, got -1"):
            stream.seek(-1)
