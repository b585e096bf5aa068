"""Which packet of a file holds which frame, told from the packets' times alone, where these can be trusted."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import av

from tats_gym.clips.readers.container import Container

TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "flv"})
"""Container formats that hold the time at which each frame is shown. AVI, ASF and bare streams hold none, and the times
that FFmpeg makes up put B-frames in the wrong order; in Ogg several packets share a position."""

UNTIMED_CODECS = frozenset({"gif"})
"""Codecs that draw each frame over the one before, and show even frames that an edit list hides."""

JUMP_LIMIT_S = 60
"""Seconds from one frame to the next above which a clock is taken to have jumped or run over."""

REORDER_LIMIT = 32
"""Places by which a codec moves a frame at most between decoding and showing: 16 in H.264 and HEVC, in fields 32."""


class Start(NamedTuple):
    """A keyframe, from which decoding can start."""

    before: int
    """Frames that are shown before it."""
    position: int
    """Of its packet in the file, in bytes."""
    time: int
    """When it is decoded, in the stream's time base."""


@dataclass(frozen=True)
class FrameOrder:
    """The packets of the frames and of the keyframes, in the order in which they are shown."""

    positions: Sequence[int]
    """Of each frame's packet in the file, in bytes."""
    starts: Sequence[Start]


class _Entry(NamedTuple):
    """What the order follows from, of a packet."""

    shown_at: int
    number: int
    """Packets before it."""
    decoded_at: int
    position: int
    keyframe: bool
    visible: bool
    """False where its frame only serves others, or an edit list cuts it off."""


def frame_order(container: Container) -> FrameOrder | None:
    """Tell the order of a file's frames from the times of its packets.

    Returns:
        The order in which a decode from the beginning gives them; None where only decoding tells, as times are missing
        or made up, repeated among frames that are not shown in the order of decoding, or jump back, or as the file
        begins with frames that lack others.

    Raises:
        av.FFmpegError: The packets cannot be read.
    """
    if not (container.format in TIMED or container.intra_only):
        return None
    if container.palettised or container.codec in UNTIMED_CODECS:
        return None
    entries: list[_Entry] = []
    for packet in container.packets():
        if packet.pts is None or packet.pos is None or packet.pos < 0:
            return None
        decoded_at = packet.pts if packet.dts is None else packet.dts
        visible = not packet.is_discard and not _invisible(packet, container.codec)
        entries.append(_Entry(packet.pts, len(entries), decoded_at, packet.pos, packet.is_keyframe, visible))
    ordered = sorted(entries)
    if not _trusted(entries, ordered, JUMP_LIMIT_S / container.time_base):
        return None
    shown = [entry for entry in ordered if entry.visible]
    starts = [Start(bisect_left(shown, key), key.position, key.decoded_at) for key in ordered if key.keyframe]
    return FrameOrder([entry.position for entry in shown], starts)


def _trusted(entries: Sequence[_Entry], ordered: Sequence[_Entry], jump_limit: float) -> bool:
    """Whether packets in the order of decoding, and in that of showing, can be those of a file as it was encoded."""
    if not entries or not entries[0].keyframe or ordered[0] is not entries[0]:
        return False
    if len({entry.position for entry in entries}) < len(entries):
        return False
    if len({entry.shown_at for entry in entries}) < len(entries):
        return ordered == entries
    if any(after.shown_at - before.shown_at > jump_limit for before, after in pairwise(ordered)):
        return False
    return all(abs(place - entry.number) <= REORDER_LIMIT for place, entry in enumerate(ordered))


def _invisible(packet: "av.Packet[av.VideoStream]", codec: str) -> bool:
    """Whether a frame of VP8 serves others alone, as the bit `show_frame` of its header says (RFC 6386, 9.1)."""
    return codec == "vp8" and not memoryview(packet)[0] >> 4 & 1
