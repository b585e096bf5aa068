"""Damages files: bytes as bad disks and cut downloads do, text and JSON as hands and other programs do."""

import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
NUMBERS = ("-1", "0", "1.5", "-0", "1e999", "NaN", "inf", "9" * 30, "9" * 5000, "0x1F", "1_0", "٣", "", "true", "null")
ODD = (
    "\u202e",
    "\ud7ff",
    "é",
    "e\u0301",
    "\u2028",
    "\x85",
    "\x0b",
    "\x1c",
    "\ufeff",
    "𓀀",
    "\u00a0",
    "\x1b[31m",
    "ﬀ",
    "%s",
)
WORDS = ("", " ", "..", "/", "/dev/null", "../../etc/passwd", "~", "*", "C:\\x", "a" * 300, "b/" * 3000, "con", "-")
DEEP = 20_000
"""Brackets in brackets: more than any parser's stack takes."""


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    """Turn one to eight bits over."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwrite(rng: random.Random, content: bytes) -> bytes:
    """Put random bytes, or zeros, over a stretch."""
    start, length = _stretch(rng, content)
    new = bytes(length) if rng.random() < 0.3 else rng.randbytes(length)
    return content[:start] + new + content[start + length :]


def truncate(rng: random.Random, content: bytes) -> bytes:
    """Keep the beginning, or now and then the end."""
    at = rng.randrange(len(content))
    return content[at:] if rng.random() < 0.1 else content[:at]


def delete_block(rng: random.Random, content: bytes) -> bytes:
    """Leave out a stretch."""
    start, length = _stretch(rng, content)
    return content[:start] + content[start + length :]


def repeat_block(rng: random.Random, content: bytes) -> bytes:
    """Put a stretch in once more, or several times."""
    start, length = _stretch(rng, content)
    return content[:start] + content[start : start + length] * rng.choice((2, 2, 3, 9)) + content[start + length :]


def swap_blocks(rng: random.Random, content: bytes) -> bytes:
    """Let two stretches change places."""
    a, b, c, d = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def extreme_integer(rng: random.Random, content: bytes) -> bytes:
    """Put a number that no header should hold over 1, 2, 4 or 8 bytes, mostly near the beginning or the end."""
    width = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(EXTREMES) % 2 ** (8 * width)
    order = rng.choice((">", "<"))
    packed = struct.pack(f"{order}{'BHIQ'[width.bit_length() - 1]}", value)
    near = min(len(content), 600)
    at = rng.choice((rng.randrange(near), len(content) - 1 - rng.randrange(near), rng.randrange(len(content))))
    return (content[:at] + packed + content[at + width :])[: max(len(content), at + width)]


BYTES: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, overwrite, truncate, delete_block),
    *(repeat_block, swap_blocks, extreme_integer, extreme_integer),
)


def drop_line(rng: random.Random, content: bytes) -> bytes:
    """Leave out a line."""
    return _lines(rng, content, lambda lines, at: lines[:at] + lines[at + 1 :])


def repeat_line(rng: random.Random, content: bytes) -> bytes:
    """Put a line in once more, somewhere."""

    def again(lines: list[bytes], at: int) -> list[bytes]:
        to = rng.randrange(len(lines) + 1)
        return [*lines[:to], lines[at], *lines[to:]]

    return _lines(rng, content, again)


def swap_fields(rng: random.Random, content: bytes) -> bytes:
    """Put a word of a line in the place of another one."""
    words = list(re.finditer(rb"[^\s,:{}\[\]\"]+", content))
    if len(words) < 2:
        return flip_bits(rng, content)
    one, other = rng.sample(words, 2)
    return content[: one.start()] + other[0] + content[one.end() :]


def absurd_number(rng: random.Random, content: bytes) -> bytes:
    """Put an absurd number in the place of a number."""
    return _replaced(rng, content, rb"-?\d+(\.\d+)?", NUMBERS)


def odd_word(rng: random.Random, content: bytes) -> bytes:
    """Put an odd name in the place of a word."""
    return _replaced(rng, content, rb"[A-Za-z_]+", WORDS)


def odd_character(rng: random.Random, content: bytes) -> bytes:
    """Insert a character that a program may read as the end of a line, or skip."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(ODD).encode() + content[at:]


def bad_encoding(rng: random.Random, content: bytes) -> bytes:
    """Put in bytes that are no UTF-8, or turn all into UTF-16."""
    if rng.random() < 0.1:
        return content.decode("utf-8", "replace").encode("utf-16")
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\0", b"\0\0\0")) + content[at:]


def huge_line(rng: random.Random, content: bytes) -> bytes:
    """Let a line grow beyond all reason."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((b" ", b"a", b"a ", b",", b'"', b"[", b"7")) * 150_000 + content[at:]


def odd_ends(rng: random.Random, content: bytes) -> bytes:
    """End lines as other systems do, or not at all."""
    return content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"", b"\n\n", b" \n", b"\t\n", b"\0\n")))


TEXT: tuple[Mutation, ...] = (
    *(drop_line, repeat_line, swap_fields, swap_fields, absurd_number, absurd_number),
    *(odd_word, odd_character, bad_encoding, odd_ends),
    *(flip_bits, truncate, delete_block, repeat_block),
)
"""Without `huge_line`, which costs a hundred times as much and is taken more seldom."""


def hostile_value(rng: random.Random) -> Any:
    """Return a value that a JSON file may hold where another one was expected."""
    return rng.choice(
        (
            *(None, True, False, 0, -1, 1.5, 2**63, 10**400, float("nan"), float("inf"), 1e300),
            *("", "x", "0", "NaN", "\ud800", "\0", "a" * 300, [], {}, [[]], [None], {"": None}, [1, 2, 3]),
        )
    )


def json_node(rng: random.Random, content: bytes) -> bytes:
    """Change, leave out, rename or double one value of a JSON file, or of one of its lines."""
    try:
        return json.dumps(change_json(rng, json.loads(content))).encode()
    except (ValueError, RecursionError):
        pass
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    try:
        lines[at] = json.dumps(change_json(rng, json.loads(lines[at]))).encode()
    except (ValueError, RecursionError):
        return flip_bits(rng, content)
    return b"\n".join(lines)


def change_json(rng: random.Random, root: Any) -> Any:
    """Return a JSON value with one of its values changed; `root` itself may be changed on the way."""
    places = [(holder, key) for holder in _holders(root) for key in _keys(holder)]
    if not places or rng.random() < 0.03:
        return hostile_value(rng)
    holder, key = rng.choice(places)
    act = rng.random()
    if act < 0.6:
        holder[key] = hostile_value(rng)
    elif act < 0.75:
        del holder[key]
    elif act < 0.9:
        other, at = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[at]))
    elif isinstance(holder, dict):
        holder[rng.choice((f"{key}x", "", "id", "__class__", "self"))] = holder[key]
    else:
        holder.insert(key, holder[key])
    return root


def deep_json(rng: random.Random, content: bytes) -> bytes:
    """Put brackets in brackets in the place of a value."""
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    deep = opening * DEEP + b"0" + closing * rng.choice((DEEP, 0))
    found = list(re.finditer(rb'"[^"]*"|\d+', content))
    if not found or rng.random() < 0.2:
        return deep
    place = rng.choice(found)
    return content[: place.start()] + deep + content[place.end() :]


JSON: tuple[Mutation, ...] = (*[json_node] * 16, *TEXT)


def mutate(rng: random.Random, content: bytes, others: Sequence[bytes], mutations: Sequence[Mutation]) -> bytes:
    """Damage a file one to four times, or splice it with another one of its kind; it never stays as it was."""
    damaged = content = content or b"\0"
    rare = [huge_line, deep_json] if JSON[0] in mutations else [huge_line] if TEXT[0] in mutations else []
    if others and rng.random() < 0.05:
        other = rng.choice(others)
        damaged = content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]
    elif rare and rng.random() < 0.01:
        damaged = rng.choice(rare)(rng, damaged)
    else:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
            damaged = rng.choice(mutations)(rng, damaged or b"\0")
    return damaged if damaged != content else flip_bits(rng, content)


def _stretch(rng: random.Random, content: bytes) -> tuple[int, int]:
    """Return where a stretch begins and how long it is; short ones are likelier."""
    start = rng.randrange(len(content))
    return start, min(len(content) - start, 1 + int(len(content) * rng.random() ** 4))


def _lines(rng: random.Random, content: bytes, change: Callable[[list[bytes], int], list[bytes]]) -> bytes:
    lines = content.split(b"\n")
    return b"\n".join(change(lines, rng.randrange(len(lines))))


def _replaced(rng: random.Random, content: bytes, pattern: bytes, by: Sequence[str]) -> bytes:
    found = list(re.finditer(pattern, content))
    if not found:
        return flip_bits(rng, content)
    place = rng.choice(found)
    return content[: place.start()] + rng.choice(by).encode() + content[place.end() :]


def _holders(root: Any) -> list[Any]:
    """Return every dict and list within a JSON value, itself among them."""
    found, at = [root], 0
    while at < len(found):
        holder = found[at]
        at += 1
        if isinstance(holder, dict | list):
            found += holder.values() if isinstance(holder, dict) else holder
    return [holder for holder in found if isinstance(holder, dict | list)]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))
