"""A segment has the frames that a decode from the beginning shows within its times, and no others are decoded."""

from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tats_gym.clips.readers import TimeSpan, VideoReadError, frame_order, open_video, split_span
from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.time_span import FrameTimes
from tests.layouts import write_images
from tests.test_readers import FILES, READERS
from tests.video_files import moving_texture, noise_frames, numbered_frames, write_video

NTSC = Fraction(30000, 1001)
B_FRAMES = {"preset": "medium", "bf": "3", "x264-params": "b-adapt=0:scenecut=0"}
CODECS = {
    "b_frames.mp4": {"options": B_FRAMES | {"g": "12"}},
    "one_keyframe.mp4": {"options": B_FRAMES | {"g": "250"}},
    "uneven.mp4": FILES["uneven.mp4"],
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "10"}},
    "vp9.mkv": {"codec": "libvpx-vp9", "options": {"g": "10"}},
}
SPANS = [("0", "0.25"), ("0.5", "1"), ("1", "2.25"), ("1.089", "1.3"), ("2", "2.5"), ("0", "2.9"), ("2.3", "3.2")]


def linear(path, start, end):
    """Decode every frame from the beginning, and pick those shown within the times, counted from the first one."""
    with av.open(str(path)) as container:
        frames = [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        unit = container.streams.video[0].time_base
    first = frames[0][0]
    return np.stack([pixels for pts, pixels in frames if Fraction(start) <= (pts - first) * unit < Fraction(end)])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", CODECS)
def test_a_segment_has_the_frames_that_a_linear_decode_shows_within_its_times(tmp_path, name, reader):
    path = write_video(tmp_path / name, moving_texture(36), **CODECS[name])
    for start, end in SPANS:
        expected = linear(path, start, end)
        with closing(open_video(f"{path}#t={start},{end}", reader)) as segment:
            assert len(segment) == len(expected)
            np.testing.assert_array_equal(segment.get_batch(range(len(segment))), expected)
            mixed = [len(segment) - 1, 0, len(segment) // 2]
            np.testing.assert_array_equal(segment.get_batch(mixed), expected[mixed])
            assert segment.fps == pytest.approx(open_video(path, reader).fps)
            with pytest.raises(VideoReadError, match=f"#t=.*: frame {len(segment)} was asked for, it has"):
                segment.get_batch([len(segment)])


def test_times_count_from_the_first_frame_that_is_shown(tmp_path):
    path = write_video(tmp_path / "v.ts", moving_texture(36), options=B_FRAMES | {"g": "12"})
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).time > 0.1  # two frames late
    for start, end in SPANS:
        with closing(open_video(f"{path}#t={start},{end}")) as segment:
            np.testing.assert_array_equal(segment.get_batch(range(len(segment))), linear(path, start, end))


def test_adjacent_segments_share_the_frames_of_their_video_without_gap_or_repeat(tmp_path):
    path = write_video(tmp_path / "v.mp4", numbered_frames(40), fps=NTSC, options=B_FRAMES | {"g": "16"})
    cuts = ["0", "0.2", "0.5", "0.501", "0.834", "1.334"]
    lengths = [len(open_video(f"{path}#t={start},{end}")) for start, end in pairwise(cuts)]
    assert lengths == [6, 9, 1, 9, 15]  # frame n is shown at 1001 n / 30000 s: frame 15 at 0.5005 s
    assert sum(lengths) == 40


def test_files_without_reliable_times_show_their_frames_evenly(tmp_path):
    path = write_video(tmp_path / "v.avi", numbered_frames(36), codec="mpeg4", options={"bf": "2"})
    with closing(open_video(path)) as video, closing(open_video(f"{path}#t=1,2")) as segment:
        assert len(segment) == 12
        np.testing.assert_array_equal(segment.get_batch(range(12)), video.get_batch(range(12, 24)))


def test_only_the_part_from_the_keyframe_before_a_segment_is_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", noise_frames(120), options=B_FRAMES | {"g": "12"})
    shown = []
    decode = Container.decode

    def counted(self, *arguments):
        for frame in decode(self, *arguments):
            shown.append(frame.pts)
            yield frame

    monkeypatch.setattr(Container, "decode", counted)
    with closing(open_video(f"{path}#t=9.5,9.75")) as segment:
        segment.get_batch([0, 1, 2])
    assert 3 <= len(shown) <= 12  # frames 114 to 116, from the keyframe 108 on: of 120


def test_the_frames_of_a_long_video_are_listed_once(tmp_path, monkeypatch):
    path = write_video(tmp_path / "v.mp4", numbered_frames(40), options={"g": "10"})
    listed = []
    monkeypatch.setattr(frame_order, "LONG_VIDEO", 40)
    monkeypatch.setattr(frame_order, "_kept", {})
    packets = Container.packets
    monkeypatch.setattr(Container, "packets", lambda self: listed.append(self.path) or packets(self))
    for start in range(3):
        open_video(f"{path}#t={start},{start + 1}").close()
    assert listed == [path]
    write_video(path, numbered_frames(41))  # another file at the same path
    assert len(open_video(f"{path}#t=3,4")) == 5
    assert len(listed) == 2


def test_no_more_orders_are_kept_than_there_is_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_order, "LONG_VIDEO", 1)
    monkeypatch.setattr(frame_order, "KEPT_FRAMES", 100)  # a video of 40 frames and a keyframe takes 65
    monkeypatch.setattr(frame_order, "_kept", {})
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", numbered_frames(40))
        open_video(tmp_path / f"{name}.mp4").close()
    assert [path.name for path, _ in frame_order._kept] == ["a.mp4"]


@pytest.mark.parametrize(
    ("times", "rule"),
    [
        ("2.95,4", "it must hold a frame; there is one every 0.083 s"),
        ("0.01,0.02", "it must hold a frame; there is one every 0.083 s"),
        ("2,4.01", "it must end by the last frame, which is shown at 2.917 s"),
        ("50,60", "it must end by the last frame, which is shown at 2.917 s"),
    ],
)
@pytest.mark.parametrize("reader", READERS)
def test_a_segment_outside_of_its_video_is_refused(tmp_path, times, rule, reader):
    path = write_video(tmp_path / "v.mp4", numbered_frames(36))
    with pytest.raises(VideoReadError, match=rf"v\.mp4#t={times}: the segment does not fit its video: {rule}; correct"):
        open_video(f"{path}#t={times}", reader)
    assert len(open_video(f"{path}#t=2,4", reader)) == 12  # ends within a second of the last frame: rounded


def test_a_segment_of_a_video_without_frame_rate_is_refused(tmp_path):
    write_images(tmp_path / "frames", numbered_frames(5))
    with pytest.raises(VideoReadError, match=r"frames#t=0,1: .* times in seconds need a frame rate"):
        open_video(tmp_path / "frames#t=0,1")


def test_a_segment_of_a_missing_video_names_the_file(tmp_path):
    with pytest.raises(VideoReadError, match=r"gone\.mp4: No such file"):
        open_video(tmp_path / "gone.mp4#t=0,1")


def test_equal_times_are_one_path_and_a_file_of_that_very_name_is_whole(tmp_path):
    span = TimeSpan(Decimal("1.50"), Decimal("1e1"))
    assert span.within("a/b.mp4") == "a/b.mp4#t=1.5,10"
    assert split_span("a/b.mp4#t=1.5,10") == (Path("a/b.mp4"), span)
    for whole in ("b.mp4", "b#t=1,2.mp4", "b.mp4#t=1", "b.mp4#t=-1,2"):
        assert split_span(whole) == (Path(whole), None)
    write_images(tmp_path / "frames#t=1,2", numbered_frames(5))
    assert len(open_video(tmp_path / "frames#t=1,2")) == 5


def test_frames_are_picked_by_exact_times():
    """Frame n of 30000/1001 a second is shown at 1001 n / 30000 s; in thirds of a second floats would miss one."""
    times = FrameTimes(range(100, 1000, 10), Fraction(1, 30))  # frames are shown at 0, 1/3, 2/3, 1, ...
    assert times.frames(TimeSpan(Decimal(1), Decimal(2))) == range(3, 6)
    assert times.frames(TimeSpan(Decimal("0.3333"), Decimal("0.3334"))) == range(1, 2)
    assert FrameTimes.even(3000, 29.97002997002997).frames(TimeSpan(Decimal("33.3666"), Decimal("33.367"))) == range(
        1000, 1001
    )  # 1000 * 1001 / 30000 = 33.36666...
