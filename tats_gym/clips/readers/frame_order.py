"""Which packet of a file holds which frame, told from the packets' times alone, where these can be trusted."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tats_gym.clips.readers.container import Container
from tats_gym.clips.readers.headers import invisible, spliced

TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"})
"""Container formats that have room for the time at which each frame is shown. AVI, ASF and bare streams have none, and
the times that FFmpeg makes up put B-frames in the wrong order; MPEG-PS and Ogg hold it for some frames only."""

UNTIMED_CODECS = frozenset({"gif", "mpeg4"})
"""GIF draws each frame over the one before, and shows even frames that an edit list hides. MPEG-4 has packets that hold
no frame, and files of it call frames keyframes that are none."""

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
    decoded_at: int
    """In the stream's time base, as all times here."""


@dataclass(frozen=True)
class FrameOrder:
    """When each frame is shown, and the keyframes, in ascending order."""

    times: Sequence[int]
    starts: Sequence[Start]
    cut_short: frozenset[int]
    """Times of the frames whose packets the file does not hold whole."""


class _Entry(NamedTuple):
    """What the order follows from, of a packet."""

    shown_at: int
    number: int
    """Packets before it."""
    decoded_at: int
    position: int
    keyframe: bool
    whole: bool
    visible: bool
    """False where its frame only serves others, or an edit list cuts it off."""


def frame_order(container: Container) -> FrameOrder | None:
    """Tell the order of a file's frames from the times of its packets.

    Returns:
        The order in which a decode from the beginning gives them; None where only decoding tells: times are missing,
        made up, repeated or jump, the file begins with frames that lack others, or HEVC was spliced.

    Raises:
        av.FFmpegError: The packets cannot be read.
    """
    if not (container.format in TIMED or container.intra_only):
        return None
    if container.palettised or container.codec in UNTIMED_CODECS:
        return None
    entries: list[_Entry] = []
    for packet in container.packets():
        if packet.pts is None or packet.pos is None or packet.pos < 0 or spliced(packet, container.codec):
            return None
        decoded_at = packet.pts if packet.dts is None else packet.dts
        visible = not packet.is_discard and not invisible(packet, container.codec)
        kind = packet.is_keyframe, not packet.is_corrupt, visible
        entries.append(_Entry(packet.pts, len(entries), decoded_at, packet.pos, *kind))
    ordered = sorted(entries)
    if not _trusted(entries, ordered, JUMP_LIMIT_S / container.time_base, reorders=container.reorders):
        return None
    shown = [entry for entry in ordered if entry.visible]
    starts = [Start(bisect_left(shown, key), key.position, key.decoded_at) for key in ordered if key.keyframe]
    cut_short = frozenset(entry.shown_at for entry in shown if not entry.whole)
    return FrameOrder([entry.shown_at for entry in shown], starts, cut_short)


def _trusted(entries: Sequence[_Entry], ordered: Sequence[_Entry], jump_limit: float, *, reorders: bool) -> bool:
    """Whether packets in the order of decoding, and in that of showing, can be those of a file as it was encoded."""
    if not entries or not entries[0].keyframe or ordered[0] is not entries[0]:
        return False
    if reorders and ordered == entries:  # times of decoding stand in the place of those of showing
        return False
    times = [entry.shown_at for entry in ordered if entry.visible]
    steps = [after - before for before, after in pairwise(times)]
    if steps and not 0 < min(steps) <= max(steps) <= jump_limit:
        return False
    return all(abs(place - entry.number) <= REORDER_LIMIT for place, entry in enumerate(ordered))
