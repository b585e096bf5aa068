"""The order of a file's frames, derived from its packets' times without decoding, where these are reliable."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.headers import is_splice, shows_no_frame

TIMED_FORMATS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"})
"""Container formats that store the time at which each frame is shown. AVI, ASF and bare streams do not, and the times
that FFmpeg makes up put B-frames in the wrong order; MPEG-PS and Ogg store it for some frames only."""

UNTIMED_CODECS = frozenset({"gif", "mpeg4"})
"""Codecs for which the times are not enough. GIF draws each frame over the one before, and shows even frames that an
edit list hides. MPEG-4 has packets without a frame, and its files mark frames as keyframes that are none."""

JUMP_LIMIT_S = 60
"""Longest plausible time between two frames, in seconds; above it the clock has jumped or wrapped around."""

REORDER_LIMIT = 32
"""Most places between a frame's decoding and display order: 16 in H.264 and HEVC, 32 in fields."""


LONG_VIDEO = 5000
"""Frames from which on a process keeps the order of a video, whose packets take long to list."""
KEPT_FRAMES = 1 << 24
"""Most frames of all orders that a process keeps, 8 bytes each."""
KEYFRAME_SIZE = 25
"""Memory of a keyframe, in frames."""


class Keyframe(NamedTuple):
    """A keyframe at which decoding can start."""

    before: int
    """Frames that are shown before it."""
    position: int
    """Offset of its packet in the file, in bytes."""
    decoded_at: int
    """Decoding time in the stream's time base, like all times here."""


@dataclass(frozen=True)
class FrameOrder:
    """The times at which frames are shown, and the keyframes, both ascending."""

    times: Sequence[int]
    keyframes: Sequence[Keyframe]
    truncated: frozenset[int]
    """Times of the frames whose packets are truncated."""


_kept: dict[tuple[Path, tuple[int, int, int]], FrameOrder] = {}
"""Orders of long videos by path and version, in this process."""


def kept_order(container: Container) -> FrameOrder | None:
    """Return `frame_order`, of a long video only once in a process: lists name many segments of one.

    Orders are never evicted: of more videos than there is room for, each would be evicted just before its next use.
    """
    key = container.path, container.version
    if key in _kept:
        return _kept[key]
    order = frame_order(container)
    if order and len(order.times) >= LONG_VIDEO and sum(map(_size, [order, *_kept.values()])) <= KEPT_FRAMES:
        _kept[key] = replace(order, times=array("q", order.times))
    return order


def _size(order: FrameOrder) -> int:
    return len(order.times) + KEYFRAME_SIZE * len(order.keyframes)


class _PacketInfo(NamedTuple):
    """The properties of a packet that determine the order."""

    shown_at: int
    number: int
    """Number of packets before it."""
    decoded_at: int
    position: int
    keyframe: bool
    whole: bool
    visible: bool
    """False where its frame is only a reference for others, or an edit list hides it."""


def frame_order(container: Container) -> FrameOrder | None:
    """Derive the order of a file's frames from the times of its packets.

    Returns:
        The order in which decoding from the beginning yields them; None where only decoding shows it: times are
        missing, made up, repeated or jump, the first frames lack their references, or HEVC was spliced.

    Raises:
        av.FFmpegError: If the packets cannot be read.
    """
    if not (container.format in TIMED_FORMATS or container.intra_only):
        return None
    if container.palettised or container.codec in UNTIMED_CODECS:
        return None
    entries: list[_PacketInfo] = []
    for packet in container.packets():
        if packet.pts is None or packet.pos is None or packet.pos < 0 or is_splice(packet, container.codec):
            return None
        decoded_at = packet.pts if packet.dts is None else packet.dts
        visible = not packet.is_discard and not shows_no_frame(packet, container.codec)
        kind = packet.is_keyframe, not packet.is_corrupt, visible
        entries.append(_PacketInfo(packet.pts, len(entries), decoded_at, packet.pos, *kind))
    ordered = sorted(entries)
    if not _reliable(entries, ordered, float(JUMP_LIMIT_S / container.time_base), reorders=container.reorders):
        return None
    shown = [entry for entry in ordered if entry.visible]
    keyframes = [Keyframe(bisect_left(shown, key), key.position, key.decoded_at) for key in ordered if key.keyframe]
    truncated = frozenset(entry.shown_at for entry in shown if not entry.whole)
    return FrameOrder([entry.shown_at for entry in shown], keyframes, truncated)


def _reliable(
    entries: Sequence[_PacketInfo], ordered: Sequence[_PacketInfo], jump_limit: float, *, reorders: bool
) -> bool:
    """Whether packets, in decoding order and in display order, are consistent with a file as it was encoded."""
    if not entries or not entries[0].keyframe or ordered[0] is not entries[0]:
        return False
    if reorders and ordered == entries:  # the file gives decoding times as display times
        return False
    times = [entry.shown_at for entry in ordered if entry.visible]
    steps = [after - before for before, after in pairwise(times)]
    if steps and not 0 < min(steps) <= max(steps) <= jump_limit:
        return False
    return all(abs(place - entry.number) <= REORDER_LIMIT for place, entry in enumerate(ordered))
