"""Parses the codec headers within packets for frame properties that the container lacks."""

from collections.abc import Iterator

import av

SPLICE_UNITS = frozenset({16, 17, 18, 36, 37})
"""Types of HEVC's NAL units after which decoders drop frames without references: BLA_W_LP to BLA_N_LP, EOS_NUT and
EOB_NUT (ITU-T H.265, table 7-1)."""

SLICE_UNITS = range(1, 6)
"""Types of H.264's NAL units that hold a slice of a picture (ITU-T H.264, table 7-1)."""
EMPTY_PACKET_BYTES = 64
"""Size in bytes below which a packet of H.264 is checked for a picture."""

FRAME_HEADER_OBUS = frozenset({3, 6})
"""Types of AV1's OBUs that begin with a frame header: OBU_FRAME_HEADER and OBU_FRAME (AV1 specification, 6.2.2)."""


def shows_no_frame(packet: "av.Packet[av.VideoStream]", codec: str) -> bool:
    """Whether a packet shows no frame: it holds none, or in VP8 and AV1 only a reference for others.

    The bit `show_frame` marks the latter: of VP8 in the first byte (RFC 6386, 9.1); of AV1 in each frame header, after
    `show_existing_frame` and the frame type (AV1 specification, 5.9.2).
    """
    if codec == "vp8":
        return not memoryview(packet)[0] >> 4 & 1
    if codec == "h264" and packet.size < EMPTY_PACKET_BYTES:
        return not any(unit[0] & 31 in SLICE_UNITS for unit in _nal_units(bytes(packet)))
    if "av1" in codec:
        shown = [header >> 7 & 1 or header >> 4 & 1 for header in _frame_headers(bytes(packet))]
        return bool(shown) and not any(shown)
    return False


def is_splice(packet: "av.Packet[av.VideoStream]", codec: str) -> bool:
    """Whether two streams of HEVC are joined at this packet, where a decoder may drop frames."""
    if codec != "hevc":
        return False
    content = bytes(packet)
    if content[-2] >> 1 in SPLICE_UNITS and content[-1] == 1:  # a NAL unit of two bytes, which ends the sequence
        return True
    return packet.is_keyframe and any(unit[0] >> 1 in SPLICE_UNITS for unit in _nal_units(content))


def _frame_headers(content: bytes) -> Iterator[int]:
    """Yield the first byte of each frame header in a packet of AV1."""
    place = 0
    while place < len(content):
        kind, extended, sized = content[place] >> 3 & 15, content[place] >> 2 & 1, content[place] >> 1 & 1
        place += 1 + extended
        size, shift = (0, 0) if sized else (len(content) - place, 0)
        while sized and place < len(content):  # LEB128, 4.10.5
            size |= (content[place] & 127) << shift
            place, shift, sized = place + 1, shift + 7, content[place] >> 7
        if kind in FRAME_HEADER_OBUS and place < len(content):
            yield content[place]
        place += size


def _nal_units(content: bytes) -> list[bytes]:
    """Return the NAL units of a packet of H.264 or H.265, from their headers on; at least their first two bytes."""
    sized, place = list[bytes](), 0
    while place + 4 < len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        sized.append(content[place + 4 : place + 6])
        place += 4 + size
    # Of 256 to 511 bytes, and of one, the length before a unit reads like a start code; but lengths lead to the end.
    if place != len(content) and content.startswith((b"\0\0\1", b"\0\0\0\1")):
        return [unit for unit in content.split(b"\0\0\1")[1:] if unit]
    return sized
