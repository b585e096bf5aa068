"""Frames found by their times: runs and attempts by hand, decoded frames against a linear decode."""

from pathlib import Path
from types import SimpleNamespace

import av
import pytest
from av.video.frame import PictureType

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.frame_order import FrameOrder, Keyframe, frame_order
from tats_gym.clips.readers.timed_frames import TimedFrames
from tats_gym.clips.readers.video_reader import VideoReadError
from tests.video_files import moving_texture, write_video

BROKEN = "broken"
"""Stands for a packet that does not decode."""


def _order(keyframes, truncated=()):
    """Thirty frames that are shown every ten ticks; keyframes have positions of thousands, and are decoded 5 before."""
    keys = [Keyframe(before, 1000 * before, 10 * before - 5) for before in keyframes]
    return FrameOrder(list(range(0, 300, 10)), keys, frozenset(truncated))


class Script:
    """Stands in for a container: decodes packets from a place on to the numbers of frames that are written down."""

    path = Path("v.mp4")

    def __init__(self, codec, frames):
        self.codec, self.written, self.attempts, self.levels = codec, frames, [], []

    def packets_from(self, position, time):
        return position, time

    def packets(self):
        return "all"

    def decode(self, packets, skip):
        self.attempts.append(packets)
        for number in self.written[packets]:
            if number == BROKEN:
                raise av.InvalidDataError(1, "broken")
            self.levels.append(skip and skip(10 * abs(number)))
            yield SimpleNamespace(pts=10 * abs(number), is_corrupt=number < 0)  # a damaged frame


def _read(keyframes, frames, wanted, codec="vp9", truncated=()):
    script = Script(codec, frames)
    found = [
        (place, frame.pts // 10) for place, frame in TimedFrames(script, _order(keyframes, truncated)).decode(wanted)
    ]
    return found, script


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        ([0], [(0, [0])]),
        ([8], [(0, [0])]),
        ([9], [(1, [0])]),
        ([29], [(2, [0])]),
        ([0, 9], [(0, [0]), (1, [1])]),  # eight frames lie between
        ([1, 9], [(0, [0, 1])]),
        ([2, 5, 20, 21, 28], [(0, [0, 1]), (2, [2, 3, 4])]),
        ([0, 8, 10, 20], [(0, [0, 1, 2, 3])]),  # at most ten from one to the next, and eight to the keyframe
        ([12, 19], [(1, [0, 1])]),
    ],
)
def test_frames_are_decoded_in_one_run_unless_a_keyframe_lies_far_ahead(wanted, runs):
    assert TimedFrames(Script("vp9", {}), _order([0, 9, 18]))._runs(wanted) == runs


def test_every_run_is_read():
    found, script = _read([0, 20], {(0, -5): [0, 1, 2], (20_000, 195): [20, 21]}, [0, 2, 21])
    assert found == [(0, 0), (1, 2), (2, 21)]
    assert script.attempts == [(0, -5), (20_000, 195)]


def test_where_a_frame_is_missing_decoding_begins_at_earlier_keyframes():
    at = {0: (0, -5), 10: (10_000, 95), 20: (20_000, 195)}
    found, script = _read([0, 10, 20], {at[20]: [20], at[10]: [20, -21], "all": [20, 21]}, [20, 21])
    assert script.attempts == [at[20], at[10], "all"]
    assert found == [(0, 20)] * 2 + [(0, 20), (1, 21)]  # the later one of each counts
    found, script = _read([0, 10, 20], {at[10]: [], at[0]: [12]}, [12])
    assert script.attempts == [at[10], at[0]]
    found, script = _read([0, 10, 20], {at[0]: [], "all": [3]}, [3])
    assert script.attempts == [at[0], "all"]
    assert found == [(0, 3)]


def test_only_a_decode_from_the_beginning_goes_on_after_a_damaged_frame():
    found, script = _read([0], {(0, -5): [0, -1, 2], "all": [0, -1, 2]}, [2])
    assert found == [(0, 2)]
    assert script.attempts == [(0, -5), "all"]


def test_a_packet_that_does_not_decode_costs_an_attempt():
    found, _ = _read([0], {(0, -5): [0, BROKEN], "all": [0, 1]}, [1])
    assert found == [(0, 1)]
    with pytest.raises(VideoReadError, match=r"v\.mp4: frame 3 of 30 does not decode \(.*broken"):
        _read([0], {(0, -5): [], "all": [0, 1, BROKEN]}, [1, 3, 5])
    with pytest.raises(VideoReadError, match=r"v\.mp4: frame 5 of 30 does not decode$"):
        _read([0], {(0, -5): [], "all": [1, 3, -5, 6]}, [1, 3, 5])


def test_a_truncated_frame_is_an_error_at_once():
    assert _read([0], {(0, -5): [0, 1]}, [1], truncated=[50])[0] == [(0, 1)]
    with pytest.raises(VideoReadError, match=r"v\.mp4: frame 5 of 30 does not decode$"):
        _read([0], {}, [1, 5], truncated=[50])


@pytest.mark.parametrize(("codec", "level"), [("h264", "NONREF"), ("mjpeg", "ALL")])
def test_unwanted_frames_are_left_out_but_from_the_beginning(codec, level):
    found, script = _read([0], {(0, -5): [0, 1, 2], "all": [0, 1, 2, 3]}, [1, 3], codec)
    # a frame that was yielded is wanted no longer, though its packet came before it
    assert script.levels == [level, "DEFAULT", level] + [None] * 4
    assert found == [(0, 1), (0, 1), (1, 3)]


def test_no_frame_of_other_codecs_is_left_out():
    assert _read([0], {(0, -5): [0, 1]}, [1])[1].levels == [None, None]


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "kept"), [("v.mp4", "libx264", "yuv420p", "IP"), ("v.avi", "mjpeg", "yuvj420p", "")]
)
def test_frames_are_those_of_a_linear_decode_without_those_that_no_other_needs(
    tmp_path, monkeypatch, name, codec, pix_fmt, kept
):
    options = {"preset": "medium", "g": "12", "bf": "2", "x264-params": "b-adapt=0:scenecut=0:b-pyramid=none"}
    path = write_video(
        tmp_path / name, moving_texture(24), codec=codec, pix_fmt=pix_fmt, options=options if kept else None
    )
    with av.open(str(path)) as file:
        every = list(file.decode(video=0))
    wanted = [14, 17, 20]
    references = {number for number in range(12, 21) if PictureType(every[number].pict_type).name in kept}
    container, decoded, decode = Container(path), [], Container.decode

    def noted(self, packets, skip=None):
        for frame in decode(self, packets, skip):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(Container, "decode", noted)
    video = TimedFrames(container, frame_order(container))
    assert len(video) == 24
    for place, frame in video.decode(wanted):
        assert (frame.to_ndarray() == every[wanted[place]].to_ndarray()).all()
    assert decoded == [every[number].pts for number in sorted(references | set(wanted))]
    container.close()
