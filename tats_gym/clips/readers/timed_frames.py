"""Frames of a file whose packets' times tell their order: decoded from the keyframe before them."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import av

from tats_gym.clips.readers.container import Container, SkipLevel
from tats_gym.clips.readers.frame_order import FrameOrder
from tats_gym.clips.readers.video_reader import Placed, frame_missing

DECODED: SkipLevel = "DEFAULT"

SEEK_GAP = 8
"""Frames that are cheaper to decode than to jump over."""

SKIPPABLE: dict[str, SkipLevel] = {"h264": "NONREF", "mjpeg": "ALL"}
"""Codec to which of its frames need not be decoded for others."""


class TimedFrames:
    """Finds frames by the packets that they are decoded from.

    A keyframe from which a frame does not come (a recovery point of H.264 gives none before some frames on, a seek in a
    transport stream may land behind it) is given up for the one before, and that for the beginning of the file.
    """

    def __init__(self, container: Container, order: FrameOrder) -> None:
        self._container, self._order = container, order

    def __len__(self) -> int:
        return len(self._order.positions)

    def decode(self, wanted: Sequence[int]) -> Placed:
        """The frames at the ascending indices `wanted`; where some come twice, the later ones count.

        Raises:
            VideoReadError: A frame does not decode.
        """
        for start, stretch in self._stretches(wanted):
            failure = None
            for packets in self._attempts(start):
                left = {self._order.positions[wanted[place]]: place for place in stretch}
                try:
                    yield from self._pick(packets, left)
                except av.FFmpegError as err:
                    failure = err
                if not left:
                    break
            else:
                raise frame_missing(self._container.path, wanted[min(left.values())], len(self), failure)

    def _stretches(self, wanted: Sequence[int]) -> list[tuple[int, list[int]]]:
        """What to decode at one go: the number of a keyframe, and the places in `wanted` that follow it."""
        stretches: list[tuple[int, list[int]]] = []
        reached = -math.inf
        for place, index in enumerate(wanted):
            start = bisect_right(self._order.starts, index, key=lambda start: start.before) - 1
            if self._order.starts[start].before > reached + SEEK_GAP:
                stretches.append((start, []))
            stretches[-1][1].append(place)
            reached = index
        return stretches

    def _attempts(self, start: int) -> Iterator[Iterator["av.Packet[av.VideoStream]"]]:
        """The packets from a keyframe on, from the one before it, and from the beginning."""
        for each in self._order.starts[start], self._order.starts[max(start - 1, 0)]:
            yield self._container.packets_from(each.position, each.time)
        yield self._container.packets()

    def _pick(self, packets: Iterator["av.Packet[av.VideoStream]"], left: dict[int, int]) -> Placed:
        """The frames of the packets at the positions in `left`, each with its place, which is taken out of `left`.

        Raises:
            av.FFmpegError: A packet does not decode; the frames of those before it have come.
        """
        needless = SKIPPABLE.get(self._container.codec)
        skip = (lambda position: DECODED if position in left else needless) if needless else None
        for frame in self._container.decode(packets, skip):
            if frame.opaque in left:
                yield left.pop(frame.opaque), frame
                if not left:
                    return
