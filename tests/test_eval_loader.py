"""The views of a test lie where their definition says, and a test goes on past videos that cannot be read."""

import logging
import time
from collections import Counter
from contextlib import closing, contextmanager

import pytest
import torch

from tats_gym.clips import ClipConfig, ClipStream, VideoReadError
from tats_gym.clips.augment import view_boxes, view_windows
from tats_gym.clips.decoder import ClipDecoder
from tests.video_files import frame_numbers, noise_frames, numbered_frames, write_video

VIDEOS = 5
OPENED = Counter()


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """Five videos of noise."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(VIDEOS):
        write_video(root / f"{number}.mp4", noise_frames(20 + number, 40, 64))
    return root


@contextmanager
def stream_of(root, *, frames=4, size=16, decoder=None, **settings):
    config = ClipConfig(data="folder", root=str(root), **settings)
    with closing(ClipStream(config, frames=frames, size=size, seed=0)) as stream:
        if decoder is not None:
            stream._eval_clips._decoder = decoder(config, stream.videos.videos, frames, size)
        yield stream


@pytest.mark.parametrize(
    ("num_frames", "count", "starts"),
    [
        (30, 1, [11]),  # 4 frames, 2 apart, take 8 of the 30: the last window starts at 22
        (30, 2, [0, 22]),
        (30, 3, [0, 11, 22]),
        (30, 5, [0, 5, 11, 16, 22]),
        (9, 3, [0, 0, 1]),
        (8, 3, [0, 0, 0]),
    ],
)
def test_windows_are_spread_from_the_first_to_the_last(num_frames, count, starts):
    expected = [[start, start + 2, start + 4, start + 6] for start in starts]
    assert view_windows(num_frames, 4, 2, "stride", count).tolist() == expected


def test_every_window_of_a_short_video_repeats_its_last_frame():
    assert view_windows(3, 4, 2, "stride", 2).tolist() == [[0, 2, 2, 2]] * 2


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"),
    [
        (32, 1, [[4, 12, 20, 28]]),  # the centres of 4 segments of 8 frames
        (32, 2, [[0, 8, 16, 24], [4, 12, 20, 28]]),
        (32, 4, [[0, 8, 16, 24], [2, 10, 18, 26], [4, 12, 20, 28], [6, 14, 22, 30]]),
        (30, 2, [[0, 7, 15, 22], [3, 11, 18, 26]]),  # starts at 0, 7.5, 15, 22.5, centres 3.75 later
        (3, 2, [[0, 0, 1, 2], [0, 1, 1, 2]]),  # starts at 0, 0.75, 1.5, 2.25, centres 0.375 later
        (1, 2, [[0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_windows_by_segments_take_starts_and_centres(num_frames, count, expected):
    assert view_windows(num_frames, 4, 2, "segments", count).tolist() == expected


@pytest.mark.parametrize("num_frames", [1, 5, 15, 16, 17, 45, 48, 71, 300])
def test_two_windows_by_segments_are_the_published_ones(num_frames):
    tick = num_frames / 16  # 16 segments: their centres and their starts, sorted; view k takes every second from k on
    published = sorted([int(tick / 2 + tick * x) for x in range(16)] + [int(tick * x) for x in range(16)])
    assert view_windows(num_frames, 16, 2, "segments", 2).tolist() == [published[0::2], published[1::2]]


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        ((240, 321), 3, [(0, 0, 240, 240), (0, 40, 240, 240), (0, 81, 240, 240)]),
        ((321, 240), 3, [(0, 0, 240, 240), (40, 0, 240, 240), (81, 0, 240, 240)]),
        ((240, 321), 2, [(0, 0, 240, 240), (0, 81, 240, 240)]),
        ((240, 321), 1, [(0, 40, 240, 240)]),
        ((7, 7), 3, [(0, 0, 7, 7)] * 3),
    ],
)
def test_squares_are_spread_along_the_longer_side(shape, count, expected):
    assert view_boxes(*shape, count) == expected


def test_views_show_each_window_in_each_square(tmp_path):
    frames = numbered_frames(21, 32, 96)
    frames[:, :, 32:64] += 60
    frames[:, :, 64:] += 120
    write_video(tmp_path / "v.mp4", frames)
    with stream_of(tmp_path, size=32, stride=3) as stream:
        batch = stream.views([0], temporal=2, spatial=3)
    assert batch.pixels.shape == (6, 3, 4, 32, 32)
    assert (batch.ids.tolist(), batch.labels.tolist()) == ([0] * 6, [-1] * 6)
    inner = batch.pixels[..., 4:-4].permute(0, 2, 3, 4, 1).numpy()  # (V, T, H, W, C)
    # 21 frames, of which a window takes 12: the last starts at 9. Squares are 10 numbers apart in brightness.
    early, late = [0, 3, 6, 9], [9, 12, 15, 18]
    expected = [[number + shift for number in window] for window in (early, late) for shift in (0, 10, 20)]
    assert [frame_numbers(view) for view in inner] == expected


def test_one_view_is_the_centre_view(folder):
    with stream_of(folder) as stream:
        one, centre = stream.views([3, 1], temporal=1, spatial=1), stream.centre([3, 1])
        middle = stream.views([3, 1], temporal=3, spatial=3).pixels.unflatten(0, (2, 9))[:, 4]
    assert torch.equal(one.pixels, centre.pixels)
    assert torch.equal(middle, centre.pixels)
    assert one.ids.tolist() == centre.ids.tolist() == [3, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_yields_the_views_of_every_video_in_order(folder, num_workers):
    ids = [4, 0, 3, 1, 2]
    with stream_of(folder) as alone, stream_of(folder, num_workers=num_workers) as stream:
        expected = alone.views(ids, temporal=2, spatial=3)
        for _ in range(2):
            batches = list(stream.each(ids, 2, temporal=2, spatial=3))
            assert [batch.ids.tolist() for batch in batches] == [[4] * 6 + [0] * 6, [3] * 6 + [1] * 6, [2] * 6]
            assert torch.equal(torch.cat([batch.pixels for batch in batches]), expected.pixels)
            assert all(batch.missing == () for batch in batches)
        fewer = next(stream.each(ids, 2, spatial=3))
        assert torch.equal(fewer.pixels, alone.views(ids[:2], spatial=3).pixels)
        more = next(stream.each(ids, 5, temporal=3, spatial=3))  # they need larger room
        assert torch.equal(more.pixels, alone.views(ids, temporal=3, spatial=3).pixels)
        assert list(stream.each([], 2)) == []
        assert stream.position == 0


class Counting(ClipDecoder):
    """A decoder that counts how often it opens each video."""

    def _open(self, id_):
        OPENED[id_] += 1
        return super()._open(id_)


def test_a_video_is_opened_once_for_all_of_its_views(folder):
    OPENED.clear()
    with stream_of(folder, decoder=Counting) as stream:
        stream.views([0, 3], temporal=5, spatial=3)
    assert OPENED == {0: 1, 3: 1}


def test_views_do_not_disturb_the_clips_that_are_taken(folder):
    with stream_of(folder) as alone, stream_of(folder) as stream:
        expected = alone.take(6).pixels
        first = stream.take(3).pixels
        views = stream.views([1, 2], temporal=2).pixels
        assert torch.equal(torch.cat([first, stream.take(3).pixels]), expected)
        assert torch.equal(views, alone.views([1, 2], temporal=2).pixels)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_broken_video_is_reported_with_the_batch_that_it_was_left_out_of(tmp_path, caplog, num_workers):
    for number in range(8):
        write_video(tmp_path / f"{number}.mp4", noise_frames(9))
    for number in (0, 3, 4, 7):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video")
    with stream_of(tmp_path, num_workers=num_workers) as stream, caplog.at_level(logging.WARNING):
        batches = list(stream.each(range(8), 2, spatial=2))
        assert [(batch.ids[::2].tolist(), batch.missing) for batch in batches] == [([1, 2], (0, 3, 4)), ([5, 6], (7,))]
        assert all(batch.pixels.shape == (4, 3, 4, 16, 16) for batch in batches)
        assert sorted(stream.broken.values()) == [1, 1, 1, 1]
        assert [sum(f"{number}.mp4" in message for message in caplog.messages) for number in (0, 3, 4, 7)] == [1] * 4
        with pytest.raises(VideoReadError, match=r"3\.mp4: it does not decode"):
            stream.views([1, 3, 5, 7])
        assert stream.views([1, 5]).ids.tolist() == [1, 5]
        with pytest.raises(VideoReadError, match="none of the 2 videos could be read"):
            list(stream.each([3, 4], 2))


def test_too_many_broken_videos_end_a_test(tmp_path):
    for number in range(9):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(3))
    (tmp_path / "9.mp4").write_bytes(b"no video")
    ids = list(range(10)) * 12
    with stream_of(tmp_path, max_broken=0.1) as stream:
        for order in (ids, sorted(ids), sorted(ids, reverse=True)):
            assert sum(len(batch.missing) for batch in stream.each(order, 10)) == 12
    with stream_of(tmp_path, max_broken=0.09) as stream, pytest.raises(VideoReadError, match="11 of 120 clips"):
        list(stream.each(ids, 10))


def test_a_part_may_be_broken_as_a_whole(tmp_path):
    write_video(tmp_path / "0.mp4")
    (tmp_path / "1.mp4").write_bytes(b"no video")
    with stream_of(tmp_path) as stream:
        (batch,) = stream.each([1], 2, spatial=2, total=2)
        assert (len(batch.pixels), len(batch.ids), batch.missing) == (0, 0, (1,))


class Hanging(ClipDecoder):
    """A decoder that never comes back from video 1."""

    def _open(self, id_):
        if id_ == 1:
            time.sleep(600)
        return super()._open(id_)


def test_a_video_that_hangs_is_left_out(folder):
    start = time.monotonic()
    with stream_of(folder, decoder=Hanging, num_workers=1, time_limit_s=2) as stream:
        (batch,) = stream.each(range(VIDEOS), VIDEOS)
        with pytest.raises(VideoReadError, match=r"1\.mp4: reading it took more than 2 s"):
            stream.views([1])
    assert time.monotonic() - start < 60
    assert (batch.ids.tolist(), batch.missing) == ([0, 2, 3, 4], (1,))


def test_a_reading_that_is_left_or_overtaken_does_no_harm_to_the_next(folder):
    with stream_of(folder) as alone, stream_of(folder, num_workers=1) as stream:
        expected = alone.views(range(VIDEOS)).pixels
        for batch in stream.each(range(VIDEOS), 1):
            assert torch.equal(batch.pixels, expected[:1])
            break
        overtaken = stream.each(range(VIDEOS), 1)
        next(overtaken)
        assert torch.equal(stream.views(range(VIDEOS)).pixels, expected)
        with pytest.raises(RuntimeError, match="another one has begun"):
            list(overtaken)
        assert torch.equal(stream.views(range(VIDEOS)).pixels, expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temporal": 0}, "temporal must be at least 1, got 0"),
        ({"spatial": -1}, "spatial must be at least 1, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"ids": [0, 5]}, r"ids must lie in \[0, 5\), got 5"),
    ],
)
def test_views_out_of_range_are_refused_before_anything_is_read(folder, settings, message):
    with stream_of(folder) as stream, pytest.raises((ValueError, IndexError), match=message):
        stream.each(**({"ids": [0], "batch_size": 1} | settings))
