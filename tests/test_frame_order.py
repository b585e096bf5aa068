"""Frame i is the i-th of a decode from the beginning: containers x codecs x B-frames x keyframes x times."""

import json
import os
from contextlib import closing, suppress
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from tats_gym.clips.readers import VideoReadError, open_video
from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.timed_frames import TimedFrames
from tests.video_files import (
    frame_numbers,
    hide_first,
    moving_texture,
    numbered_frames,
    write_video,
    write_video_after_cover,
)

MADE_BY_FFMPEG = Path(__file__).parent / "videos"
LEVELS = json.loads((MADE_BY_FFMPEG / "expected.json").read_text())

H264, HEVC, MPEG4, MPEG2, MPEG1 = "libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video"
WITH_B_FRAMES = {H264, HEVC, MPEG4, MPEG2, MPEG1}
PIXELS = {
    "mjpeg": "yuvj420p",
    "png": "rgb24",
    "gif": "rgb8",
    "apng": "rgb24",
    "qtrle": "rgb24",
    "msvideo1": "rgb555le",
} | {"cinepak": "rgb24", "svq1": "yuv410p", "huffyuv": "yuv422p", "prores": "yuv422p10le", "dnxhd": "yuv422p"}
CONTAINERS = {
    "avi": (H264, MPEG4, MPEG2, "mjpeg", "rawvideo", "ffv1", "huffyuv", "msmpeg4", "cinepak", "msvideo1", "libvpx-vp9"),
    "mp4": (H264, HEVC, MPEG4, MPEG2, "libvpx-vp9", "libsvtav1", "mjpeg", "png"),
    "mov": (H264, HEVC, MPEG4, "mjpeg", "prores", "qtrle", "svq1", "gif"),
    "mkv": (H264, HEVC, MPEG4, MPEG2, MPEG1, "libvpx", "libvpx-vp9", "libsvtav1", "ffv1", "rawvideo"),
    "webm": ("libvpx", "libvpx-vp9", "libsvtav1"),
    "ts": (H264, HEVC, MPEG4, MPEG2, MPEG1),
    "mpg": (MPEG2, MPEG1),
    "vob": (MPEG2,),
    "flv": (H264, HEVC, "flv"),
    "wmv": (H264, MPEG4, "wmv1", "wmv2"),
    "3gp": (H264, MPEG4),
    "m2v": (MPEG2,),
    "m4v": (H264, MPEG4),
    "h264": (H264,),
    "hevc": (HEVC,),
    "mjpeg": ("mjpeg",),
    "ivf": ("libvpx", "libvpx-vp9"),
    "nut": (H264, MPEG4, "ffv1"),
    "gif": ("gif",),
    "apng": ("apng",),
    "y4m": ("rawvideo",),
}  # fmt: skip
TIMES = {
    "regular": lambda shown, decoded: (shown, decoded),
    "offset": lambda shown, decoded: (shown + 250_000, decoded + 250_000),
    "negative": lambda shown, decoded: (shown - 10, decoded - 10),
    "repeated": lambda shown, decoded: (shown // 2 * 2, decoded // 2 * 2),
    "of decoding": lambda shown, decoded: (decoded + 2, decoded + 2),  # as a stream without times is copied into MP4
}
"""A change of a packet's times, in frames; a container may refuse some."""


def decode(path):
    """The frames of a decode from the beginning, in PyAV's own words; packets that do not decode are passed over."""
    frames = []
    with av.open(str(path), metadata_errors="ignore") as container:
        container.streams.video[0].thread_count = 1  # the content in place of damaged parts depends on it
        for packet in container.demux(video=0):
            try:
                frames += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.FFmpegError:
                continue
    return np.stack(frames)


def orders(length):
    """Indices to ask for: each alone, the last first; all at once; windows and scattered ones in any order."""
    rng = np.random.default_rng(0)
    yield from ([index] for index in reversed(range(length)))
    yield range(length)
    yield from (rng.choice(length, 6) for _ in range(8))
    yield from (range(start, min(start + 16, length)) for start in rng.integers(0, length, 4))


def assert_linear(path, expected):
    """Every frame is that of `expected`, however it is asked for, and there are as many."""
    with closing(open_video(path)) as video:
        assert len(video) == len(expected)
        for indices in orders(len(video)):
            np.testing.assert_array_equal(video.get_batch(list(indices)), expected[list(indices)], f"{indices}")


@pytest.mark.parametrize(
    ("suffix", "codec"), [(suffix, codec) for suffix in CONTAINERS for codec in CONTAINERS[suffix]]
)
def test_every_frame_is_that_of_a_linear_decode(tmp_path, suffix, codec):
    written = 0
    for bf, gop, times in product((0, 2) if codec in WITH_B_FRAMES else (0,), (8, 250), TIMES):
        path = tmp_path / f"{bf}-{gop}-{times[:3]}.{suffix}"
        options = {"g": f"{gop}"} | ({"bf": f"{bf}"} if codec in WITH_B_FRAMES else {})
        if codec == HEVC:
            options = {"preset": "ultrafast", "x265-params": f"bframes={bf}:b-adapt=0:keyint={gop}:log-level=none"}
        try:
            write_video(
                path,
                moving_texture(30),
                codec=codec,
                fps=25,
                pix_fmt=PIXELS.get(codec, "yuv420p"),
                options=options,
                container_options={"avoid_negative_ts": "disabled"} if times == "negative" else None,
                retimed=TIMES[times],
            )
        except (av.FFmpegError, OSError):
            assert times != "regular"  # a muxer may refuse times that repeat or are negative
            continue
        written += 1
        assert_linear(path, decode(path))
    assert written


@pytest.mark.parametrize("name", LEVELS)
def test_streams_that_only_ffmpeg_writes_are_read_as_ffmpeg_decodes_them(name):
    levels = np.array(LEVELS[name])  # frames differ by 4.5 at least
    with closing(open_video(MADE_BY_FFMPEG / name)) as video:
        assert len(video) == len(levels)
        for indices in orders(len(video)):
            np.testing.assert_allclose(video.get_batch(list(indices)).mean((1, 2, 3)), levels[list(indices)], atol=2)


def test_frames_that_are_not_shown_are_not_counted():
    with av.open(str(MADE_BY_FFMPEG / "vp8_invisible_frames.webm")) as container:
        packets = sum(bool(packet.size) for packet in container.demux(video=0))
    assert packets > len(LEVELS["vp8_invisible_frames.webm"])  # else the case above proves too little
    with closing(open_video(MADE_BY_FFMPEG / "vp8_invisible_frames.webm")) as video:
        assert isinstance(video._frames, TimedFrames)


def test_a_stream_that_starts_its_times_anew_keeps_its_order(tmp_path):
    first = write_video(tmp_path / "a.ts", moving_texture(20), options={"bf": "2", "g": "8"})
    path = tmp_path / "twice.ts"
    path.write_bytes(first.read_bytes() * 2)
    assert len(decode(path)) == 40
    assert_linear(path, decode(path))


@pytest.mark.parametrize("kept", [0.9, 0.6, 0.35])
def test_a_stream_that_begins_anywhere_is_read_from_its_first_whole_frame(tmp_path, kept):
    whole = write_video(tmp_path / "whole.ts", moving_texture(40), options={"bf": "2", "g": "8"})
    path = tmp_path / "late.ts"
    path.write_bytes(whole.read_bytes()[-int(kept * whole.stat().st_size) :])
    assert_linear(path, decode(path))


def test_a_palette_is_not_lost_by_seeking(tmp_path):
    grey = np.broadcast_to(np.arange(0, 250, 10, dtype=np.uint8)[:, None, None], (25, 32, 64))  # (T, H, W)
    path = tmp_path / "v.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "pal8"
        palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, 1)
        for pixels in grey:
            frame = av.VideoFrame.from_ndarray((pixels, palette), format="pal8")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with closing(open_video(path)) as video:
        for index in (20, 0, 3):
            assert video.get_batch([index])[0, 0, 0, 0] == 10 * index


def test_a_cover_picture_is_no_video(tmp_path):
    path = write_video_after_cover(tmp_path / "v.mp4", numbered_frames(20))
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
        assert container.streams.video[0].disposition & av.stream.Disposition.attached_pic
    with closing(open_video(path)) as video:
        assert frame_numbers(video.get_batch([19, 4])) == [19, 4]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.webm", "v.ts", "v.mov"])
def test_usual_files_are_read_from_a_keyframe_and_not_counted(tmp_path, monkeypatch, name):
    codec = "libvpx-vp9" if name == "v.webm" else H264
    path = write_video(tmp_path / name, moving_texture(40), codec=codec, options={"g": "8"})
    monkeypatch.setattr(Container, "count_frames", lambda self: pytest.fail("its frames are counted"))
    with closing(open_video(path)) as video:
        assert video.get_batch([30]).shape == (1, 32, 64, 3)


@pytest.mark.parametrize("codec", [H264, HEVC, MPEG2, "libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("index", [0, 2])
def test_after_a_damaged_keyframe_frames_are_those_of_a_linear_decode_or_refused(tmp_path, codec, index):
    path = write_video(tmp_path / "v.mkv", moving_texture(40), codec=codec, options={"g": "8"})
    with av.open(path) as container:
        key = [packet for packet in container.demux(video=0) if packet.is_keyframe][index]
    content = bytearray(path.read_bytes())
    middle = content.index(bytes(key)) + key.size // 2
    content[middle : middle + 8] = bytes(8)
    path.write_bytes(content)
    expected = decode(path)
    with closing(open_video(path)) as video:
        assert len(video) in (40, len(expected))
        read = 0
        for i in reversed(range(len(video))):
            with suppress(VideoReadError):
                np.testing.assert_array_equal(video.get_batch([i])[0], expected[i])
                read += 1
    assert read > 4


def test_the_frames_before_a_broken_last_packet_are_read(tmp_path):
    frames, options = moving_texture(40), {"g": "8", "bf": "0"}
    path = write_video(tmp_path / "v.mp4", frames, options=options, container_options={"movflags": "faststart"})
    whole = decode(path)
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    with closing(open_video(path)) as video:
        assert 15 < len(video) < 35
        for index in reversed(range(len(video) - 1)):
            np.testing.assert_array_equal(video.get_batch([index])[0], whole[index])
        with pytest.raises(VideoReadError, match=rf"frame {len(video) - 1} of {len(video)} does not decode"):
            video.get_batch([len(video) - 1])


def test_a_matroska_that_is_cut_short_gives_the_frames_that_it_holds(tmp_path):
    path = write_video(tmp_path / "v.mkv", moving_texture(40), options={"g": "8"})
    path.write_bytes(path.read_bytes()[: int(0.7 * path.stat().st_size)])
    assert 15 < len(decode(path)) < 35
    assert_linear(path, decode(path))


@pytest.mark.parametrize("name", ["v.avi", "v.mp4"])
def test_a_reader_notices_that_its_file_was_replaced_or_that_it_was_closed(tmp_path, name):
    path = write_video(tmp_path / name, numbered_frames(40), codec="mpeg4")
    video = open_video(path)
    assert frame_numbers(video.get_batch([20])) == [20]
    write_video(tmp_path / f"other-{name}", moving_texture(30), codec="mpeg4").replace(path)
    with pytest.raises(VideoReadError, match="it changed while it was read"):
        video.get_batch([3])
    video.close()
    with pytest.raises(VideoReadError, match="it was closed"):
        video.get_batch([3])


def test_a_video_that_hides_all_its_frames_is_an_error(tmp_path):
    path = hide_first(write_video(tmp_path / "v.mp4", numbered_frames(20)), 25)
    with pytest.raises(VideoReadError, match=r"v\.mp4: it holds no frame"):
        open_video(path)


def test_av1_whose_frames_have_packets_of_their_own_is_read_as_it_decodes(tmp_path):
    path = write_video(tmp_path / "v.mkv", moving_texture(40), codec="libsvtav1", options={"g": "20", "preset": "8"})
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    split = tmp_path / "split.mkv"
    with av.open(path) as source, av.open(split, "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream, opaque=True)
        cut = BitStreamFilterContext("av1_frame_split", stream, copied)
        packets = 0
        for packet in source.demux(stream):
            for part in cut.filter(packet if packet.size else None):
                part.stream, packets = copied, packets + 1
                target.mux(part)
    assert packets > len(decode(path)) == 40
    assert_linear(split, decode(split))


def test_hevc_with_broken_links_is_read_as_it_decodes(tmp_path):
    x265 = "open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0:scenecut=0:log-level=none"
    options = {"preset": "ultrafast", "x265-params": x265}
    path = write_video(tmp_path / "v.mkv", moving_texture(40), codec=HEVC, options=options)
    with av.open(path) as container:
        keys = [bytes(packet) for packet in container.demux(video=0) if packet.is_keyframe]
    content = path.read_bytes()
    for key in keys[2:]:  # a CRA picture becomes a BLA picture: pictures that refer back over it are left out
        content = content.replace(key, key.replace(b"\x2a\x01", b"\x20\x01", 1))
    path.write_bytes(content)
    expected = decode(path)
    assert 30 < len(expected) < 40
    assert_linear(path, expected)
