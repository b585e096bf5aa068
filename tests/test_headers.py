"""Headers within packets, put together bit by bit from the tables of the specifications."""

from itertools import product

import pytest

from tats_gym.clips.readers.headers import EMPTY_PACKET_BYTES, is_splice, shows_no_frame


class Packet(bytes):
    """Stands in for PyAV's."""

    is_keyframe = False

    @property
    def size(self):
        return len(self)


class Keyframe(Packet):
    is_keyframe = True


def length_prefixed(*units):
    """As in MP4: four bytes of length before each unit."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def annex_b(*units, start=b"\0\0\1"):
    """As in MPEG-TS: a start code before each unit."""
    return b"".join(start + unit for unit in units)


FORMS = [length_prefixed, annex_b, lambda *units: annex_b(*units, start=b"\0\0\0\1")]


def test_the_fifth_bit_of_a_vp8_frame_says_whether_it_is_shown():
    for first in range(256):
        shown = bool(first & 0b10000)  # RFC 6386, 9.1: key_frame, version (3 bits), show_frame, ...
        assert shows_no_frame(Packet([first, first ^ 255]), "vp8") == (not shown)


@pytest.mark.parametrize("form", FORMS)
def test_h264_shows_a_packet_that_holds_a_slice(form):
    # H.264, table 7-1: 1 to 5 are slices, or their parts; nal_ref_idc, the two bits before, is 0 to 3.
    for kind, header in product(range(32), (0, 0b0110_0000)):
        header |= kind
        delimiter, message = b"\x09\xf0", b"\x06\x05\x2f"
        unit = bytes([header])
        for packet in (form(unit), form(delimiter, unit), form(unit + b"\x88\x84", message)):
            assert shows_no_frame(Packet(packet), "h264") == (not 1 <= kind <= 5)


def test_a_unit_without_bytes_is_ignored():
    assert shows_no_frame(Packet(length_prefixed(b"\x06\x05", b"")), "h264")
    assert shows_no_frame(Packet(annex_b(b"\x06\x05", b"")), "h264")
    assert not shows_no_frame(Packet(length_prefixed(b"", b"\x65\x88")), "h264")


def test_only_small_packets_of_h264_are_looked_into():
    small, large = (length_prefixed(b"\x06" * (size - 4)) for size in (EMPTY_PACKET_BYTES - 1, EMPTY_PACKET_BYTES))
    assert (len(small), len(large)) == (63, 64)
    assert shows_no_frame(Packet(small), "h264")
    assert not shows_no_frame(Packet(large), "h264")
    assert not shows_no_frame(Packet(small), "hevc")


def obu(kind, payload, *, sized=True, extension=b""):
    """A unit of AV1 (5.3.2): forbidden bit, type (4 bits), extension, has_size, reserved; then the size as LEB128."""
    size, rest = b"", len(payload)
    while sized:
        rest, low = divmod(rest, 128)
        size += bytes([low | 128 * bool(rest)])
        if not rest:
            break
    return bytes([kind << 3 | bool(extension) << 2 | sized << 1]) + extension + size + payload


DELIMITER, SEQUENCE, HEADER, METADATA, FRAME = 2, 1, 3, 5, 6
SHOWN_FRAMES = obu(FRAME, b"\x10") * 7000
"""A payload that reads as frames that are shown, if it is taken for units."""


@pytest.mark.parametrize("codec", ["av1", "libdav1d"])
def test_av1_frames_and_their_headers_say_whether_they_are_shown(codec):
    for kind in range(16):
        hidden = Packet(obu(kind, b"\x00\xff"))
        assert shows_no_frame(hidden, codec) is (kind in (HEADER, FRAME))
        assert not shows_no_frame(hidden, "vp9")


def test_two_bits_of_an_av1_header_say_whether_the_frame_is_shown():
    for first in range(256):
        shown = bool(first & 0b1001_0000)  # 5.9.2: show_existing_frame, frame_type (2 bits), show_frame, ...
        assert shows_no_frame(Packet(obu(FRAME, bytes([first, first ^ 255]))), "av1") == (not shown)


@pytest.mark.parametrize("length", [0, 1, 2, 126, 127, 128, 200, 255, 256, 16_383, 16_384, 20_001])
@pytest.mark.parametrize("extension", [b"", b"\x28"])
def test_units_of_av1_of_any_size_are_passed_over(length, extension):
    before = obu(DELIMITER, b"") + obu(METADATA, SHOWN_FRAMES[:length], extension=extension)
    hidden, shown = (obu(FRAME, header, extension=extension) for header in (b"\x20\x90", b"\x30\x00"))
    assert shows_no_frame(Packet(before + hidden), "av1")
    assert shows_no_frame(Packet(before + hidden + hidden), "av1")
    assert not shows_no_frame(Packet(before + shown), "av1")
    assert not shows_no_frame(Packet(before + hidden + shown), "av1")
    assert not shows_no_frame(Packet(before), "av1")


def test_a_unit_of_av1_without_a_size_reaches_to_the_end():
    hidden = obu(FRAME, b"\x00" + SHOWN_FRAMES[:300], sized=False)
    assert shows_no_frame(Packet(obu(DELIMITER, b"") + hidden), "av1")
    assert not shows_no_frame(Packet(obu(METADATA, obu(FRAME, b"\x00"), sized=False)), "av1")
    assert not shows_no_frame(Packet(obu(FRAME, b"\x10\x00", sized=False, extension=b"\x00")), "av1")


@pytest.mark.parametrize("cut", [b"", b"\x32", b"\x32\x00", b"\x32\x80", b"\x32\x80\x80", b"\x36", b"\x30"])
def test_a_packet_of_av1_that_ends_early_hides_no_frame(cut):
    assert not shows_no_frame(Packet(cut), "av1")


SPLICES = {"BLA_W_LP": 16, "BLA_W_RADL": 17, "BLA_N_LP": 18, "EOS_NUT": 36, "EOB_NUT": 37}  # H.265, table 7-1


@pytest.mark.parametrize("form", FORMS)
def test_hevc_is_spliced_at_some_keyframes(form):
    ordinary = bytes([32 << 1, 1, 0x0C, 0xFF])
    for kind in range(64):
        unit = bytes([kind << 1, 1, 0xAA, 0xBB])
        for packet in (form(unit), form(ordinary, unit), form(unit, ordinary), form(ordinary * 300, unit)):
            assert is_splice(Keyframe(packet), "hevc") is (kind in SPLICES.values())
            assert not is_splice(Packet(packet), "hevc")
            assert not is_splice(Keyframe(packet), "h264")


@pytest.mark.parametrize("form", FORMS)
def test_hevc_is_spliced_behind_the_end_of_a_sequence(form):
    slice_ = bytes([1 << 1, 1, 0xAA, 0xBB])
    for kind in range(64):
        end = bytes([kind << 1, 1])
        assert is_splice(Packet(form(slice_, end)), "hevc") is (kind in SPLICES.values())
        assert not is_splice(Packet(form(slice_, end[:1] + b"\x02")), "hevc")  # of another temporal layer
        assert not is_splice(Packet(form(slice_, end)), "h264")


@pytest.mark.parametrize("length", [1, 2, 3, 255, 256, 288, 328, 511, 512, 65_536 + 288])
def test_lengths_that_read_like_start_codes_are_lengths(length):
    """In four bytes 1 is 0 0 0 1, and 256 to 511 are 0 0 1 and another byte, 288 with the type 16 of a splice."""
    ordinary = (bytes([1 << 1, 1]) + b"\xaa" * length)[:length]
    for kind in range(64):
        units = length_prefixed(ordinary, bytes([kind << 1, 1, 0xAA, 0xBB]))
        assert is_splice(Keyframe(units), "hevc") is (kind in SPLICES.values())
