"""The order of frames from packets made up here, against orders written down by hand."""

from types import SimpleNamespace

import av
import pytest

from tats_gym.clips.readers.frame_order import FrameOrder, frame_order
from tests.video_files import numbered_frames, write_video

TICKS = 100
"""Units of time in a second."""


class Packet(bytes):
    """Stands in for PyAV's."""

    pts = dts = pos = 0
    is_keyframe = is_corrupt = is_discard = False


def packets_of(shown, keyframes=(0,), contents=None):
    """Packets in decoding order: shown at these times, decoded every ten ticks from -10 on, a hundred bytes each."""
    packets = [Packet(content) for content in contents or [b"\x10\x10"] * len(shown)]
    for number, (packet, time) in enumerate(zip(packets, shown, strict=True)):
        packet.pts, packet.dts, packet.pos = time, 10 * number - 10, 100 * number
        packet.is_keyframe = number in keyframes
    return packets


def order_of(packets, **properties):
    usual = {"format": "matroska,webm", "codec": "vp9", "time_base": 1 / TICKS}
    usual |= {"intra_only": False, "palettised": False, "reorders": False}
    return frame_order(SimpleNamespace(packets=lambda: iter(packets), **usual | properties))


def reordered():
    """Two groups of four frames: the third one of each is decoded first after its keyframe."""
    return packets_of([0, 30, 10, 20, 40, 70, 50, 60], keyframes=(0, 4))


def test_frames_come_in_the_order_of_their_times():
    expected = FrameOrder([0, 10, 20, 30, 40, 50, 60, 70], [(0, 0, -10), (4, 400, 30)], frozenset())
    assert order_of(reordered(), reorders=True) == expected
    assert order_of(reordered()) == expected


def test_a_packet_without_a_decoding_time_is_decoded_when_it_is_shown():
    packets = packets_of([0, 10, 20], keyframes=(0, 2))
    packets[2].dts = None
    assert order_of(packets).keyframes == [(0, 0, -10), (2, 200, 20)]


def test_frames_that_an_edit_list_hides_are_not_counted():
    packets = reordered()
    packets[0].is_discard = packets[2].is_discard = True
    expected = FrameOrder([20, 30, 40, 50, 60, 70], [(0, 0, -10), (2, 400, 30)], frozenset())
    assert order_of(packets, reorders=True) == expected


def test_frames_that_only_others_refer_to_are_not_counted():
    hidden = b"\0\0"  # VP8 shows a frame where bit 4 of the first byte is set (RFC 6386, 9.1)
    packets = packets_of([0, 10, 20, 30], keyframes=(0, 3), contents=[b"\x10", hidden, b"\x10", b"\x10"])
    assert order_of(packets, codec="vp8") == FrameOrder([0, 20, 30], [(0, 0, -10), (2, 300, 20)], frozenset())


def test_truncated_packets_are_listed_by_their_times():
    packets = reordered()
    packets[2].is_corrupt = packets[3].is_corrupt = packets[6].is_corrupt = True
    packets[3].is_discard = True
    assert order_of(packets).truncated == {10, 50}


@pytest.mark.parametrize("shown", [[0], [0, 1], [-20, -10, 0], range(0, 400, 10)])
def test_times_that_rise_are_an_order(shown):
    assert order_of(packets_of(shown)).times == list(shown)


@pytest.mark.parametrize(
    ("shown", "keyframes"),
    [
        ([], ()),
        ([0, 10, 20], (1,)),  # begins between two keyframes
        ([10, 0, 20], (0,)),  # a frame before the first keyframe
        ([0, 10, 10, 20], (0,)),
    ],
)
def test_packets_that_do_not_agree_are_no_order(shown, keyframes):
    assert order_of(packets_of(shown, keyframes)) is None


@pytest.mark.parametrize("attribute", ["pts", "pos"])
def test_packets_without_a_time_or_a_place_are_no_order(attribute):
    packets = reordered()
    setattr(packets[3], attribute, None)
    assert order_of(packets) is None


def test_packets_before_the_file_are_no_order():
    packets = reordered()
    packets[3].pos = -1
    assert order_of(packets) is None


def test_times_of_decoding_given_for_those_of_showing_are_no_order():
    assert order_of(packets_of([0, 10, 20]), reorders=True) is None


def test_hevc_that_was_spliced_is_no_order():
    end = b"\x26\x01\x48\x01"  # a NAL unit of type 36, EOS_NUT, after others (H.265, table 7-1)
    packets = packets_of([0, 10, 20], contents=[b"\x26\x01", end, b"\x26\x01"])
    assert order_of(packets, codec="hevc") is None
    assert order_of(packets, codec="h265").times == [0, 10, 20]  # only HEVC's packets are looked into


def test_the_clock_may_pause_for_a_minute():
    assert order_of(packets_of([0, 60 * TICKS])).times == [0, 60 * TICKS]
    assert order_of(packets_of([0, 60 * TICKS + 1])) is None


def test_a_frame_may_wait_for_32_others():
    assert order_of(packets_of([0, 330, *range(10, 330, 10)])).times == list(range(0, 340, 10))
    assert order_of(packets_of([0, 340, *range(10, 340, 10)])) is None


@pytest.mark.parametrize(
    ("name", "codec", "timed"),
    [
        ("v.mp4", "libx264", True),
        ("v.mov", "libx264", True),
        ("v.mkv", "libx264", True),
        ("v.webm", "libvpx", True),
        ("v.ts", "libx264", True),
        ("v.flv", "libx264", True),
        ("v.avi", "libx264", False),
        ("v.mpg", "mpeg2video", False),
        ("v.wmv", "wmv2", False),
    ],
)
def test_containers_that_store_the_times_of_frames_have_an_order(tmp_path, name, codec, timed):
    with av.open(str(write_video(tmp_path / name, numbered_frames(9), codec=codec))) as file:
        assert (order_of(reordered(), format=file.format.name) is not None) == timed


def test_codecs_decide_too():
    assert order_of(reordered(), format="avi", intra_only=True)
    assert order_of(reordered(), intra_only=True)
    assert order_of(reordered(), codec="gif") is None
    assert order_of(reordered(), codec="mpeg4") is None
    assert order_of(reordered(), palettised=True) is None
