"""The stream's clips follow from seed and position alone, and broken videos are replaced and counted."""

import logging
from contextlib import closing, contextmanager

import numpy as np
import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
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
def stream_of(root, *, seed=0, frames=4, size=16, **settings):
    config = ClipConfig(data="folder", root=str(root), **settings)
    with closing(ClipStream(config, frames=frames, size=size, seed=seed)) as stream:
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


def test_videos_shorter_than_the_window_repeat_their_last_frame(tmp_path):
    write_video(tmp_path / "v.mp4", numbered_frames(3))
    with stream_of(tmp_path) as stream:
        pixels = stream.take(1).pixels[0]
    assert frame_numbers(pixels.permute(1, 2, 3, 0).numpy()) == [0, 2, 2, 2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_replaced_counted_and_logged_once(tmp_path, caplog, num_workers):
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", noise_frames(9))
    broken = tmp_path / "1.mp4"
    broken.write_bytes(b"no video")
    with stream_of(tmp_path, num_workers=num_workers) as stream, caplog.at_level(logging.WARNING):
        ids = stream.take(12).ids.tolist()
    assert set(ids) == {0, 2}
    assert stream.broken.keys() == {str(broken)}
    assert stream.broken[str(broken)] >= 4  # once an epoch, and whenever a replacement falls on it
    assert [str(broken) in message for message in caplog.messages] == [True]
    with stream_of(tmp_path) as again:
        assert again.take(12).ids.tolist() == ids


@pytest.mark.parametrize("num_workers", [0, 1])
def test_nothing_but_broken_videos_is_an_error_that_names_the_last(tmp_path, num_workers):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with stream_of(tmp_path, num_workers=num_workers) as stream:
        with pytest.raises(VideoReadError, match=r"20 videos in a row .*a\.mp4: it does not decode"):
            stream.take(1)
        assert stream.position == 0
        with pytest.raises(VideoReadError, match=r"a\.mp4: it does not decode"):
            stream.centre([0])


@pytest.mark.parametrize(("ids", "bad"), [([0, 5], "5"), ([-1], "-1")])
def test_ids_outside_the_dataset_are_refused(folder, ids, bad):
    with stream_of(folder) as stream, pytest.raises(IndexError, match=rf"ids must lie in \[0, 5\), got {bad}"):
        stream.centre(ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "kinetics"}, "data must be one of .*, got 'kinetics'"),
        ({"split": "test"}, "split must be one of .*, got 'test'"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"crop": "random"}, "crop must be one of .*, got 'random'"),
        ({"reader": "opencv"}, "reader must be one of .*, got 'opencv'"),
        ({"num_workers": -1}, "num_workers must not be negative, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ClipConfig(**settings)


def test_arguments_out_of_range_are_refused(folder):
    with (
        pytest.raises(ValueError, match="frames and size must be at least 1, got 0 and 16"),
        stream_of(folder, frames=0),
    ):
        pass
    with stream_of(folder) as stream:
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            stream.take(0)
        with pytest.raises(ValueError, match="must not be negative, got -1 and 0"):
            stream.seek(-1)
