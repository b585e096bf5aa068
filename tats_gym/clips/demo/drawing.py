"""Drawing for the demo videos: textures, shapes, and rotated, scaled sprites pasted into frames.

Values whose last bit could differ between machines (sines) are rounded before use, and colours are mixed in integers,
so that the same numbers give the same pixels on every machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

TEXTURES = ("gradient", "noise", "stripes", "checks", "blobs")
SHAPES = ("disc", "square", "bar", "triangle", "cross", "ring", "star", "moon", "ell")

SPRITE_SIZE = 96
"""Height and width of a sprite in texels; an object of radius r pixels is r / 48 pixels a texel."""

SPRITE_REACH = 1.05
"""Half a sprite's side in object radii: slightly more than one, so that a sprite's border is transparent."""


def cosine(angle: Floats | float) -> Floats:
    """Compute a cosine, rounded to a grid on which all mathematics libraries agree."""
    return np.asarray(np.rint(np.cos(angle) * 2**20) / 2**20)


def sine(angle: Floats | float) -> Floats:
    """Compute a sine, rounded like `cosine`."""
    return cosine(np.asarray(angle) - np.pi / 2)


def ease(fraction: Floats) -> Floats:
    """Rise smoothly (smoothstep) from 0 to 1 with `fraction`, flat outside [0, 1]."""
    fraction = np.clip(fraction, 0, 1)
    return fraction * fraction * (3 - 2 * fraction)


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> Floats:
    """Draw value noise: values on a lattice of `cell` pixels, smoothly interpolated; (height, width) in [0, 1]."""
    rows, cols = np.arange(height) / cell, np.arange(width) / cell
    top, left = rows.astype(np.intp), cols.astype(np.intp)
    lattice = rng.random((top[-1] + 2, left[-1] + 2))
    down, right = ease(rows - top)[:, None], ease(cols - left)
    bands: Floats = lattice[top] * (1 - down) + lattice[top + 1] * down
    field: Floats = bands[:, left] * (1 - right) + bands[:, left + 1] * right
    return field


def texture(rng: np.random.Generator, height: int, width: int, cell: float) -> Floats:
    """Draw a texture of a random kind, with features of about `cell` pixels; (height, width) in [0, 1]."""
    kind = TEXTURES[rng.integers(len(TEXTURES))]
    angle = rng.random() * 2 * np.pi
    y, x = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2
    along, across = x * cosine(angle) + y * sine(angle), y * cosine(angle) - x * sine(angle)
    grain = noise(rng, height, width, cell)
    if kind == "gradient":
        main = _slope(height, width, angle)
    elif kind == "noise":
        main = noise(rng, height, width, 2 * cell)
    elif kind == "stripes":
        main = 0.5 + 0.5 * sine(along * (np.pi / cell))
    elif kind == "checks":
        main = 0.5 + np.clip(2 * sine(along * (np.pi / cell)) * sine(across * (np.pi / cell)), -0.5, 0.5)
    else:
        main = np.clip(4 * noise(rng, height, width, 1.5 * cell) - 1.5, 0, 1)
    mixed: Floats = 0.7 * main + 0.3 * grain
    return mixed


def _slope(height: int, width: int, angle: float) -> Floats:
    """Rise along a direction, 1 over the diagonal, .5 in the centre; (height, width) in [0, 1]."""
    y, x = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2
    return np.asarray(0.5 + (x * cosine(angle) + y * sine(angle)) / np.sqrt(height * height + width * width))


def colourise(field: Floats, low: NDArray[np.int64], high: NDArray[np.int64]) -> Bytes:
    """Mix two RGB colours by a field in [0, 1]; (..., 3)."""
    share = np.arange(257)[:, None]
    ramp = ((low * (256 - share) + high * share) >> 8).astype(np.uint8)
    return ramp[np.rint(field * 256).astype(np.intp)]


def backdrop(rng: np.random.Generator, height: int, width: int) -> Bytes:
    """Fade a dark muted colour into a lighter one along a random direction; (height, width, 3)."""
    low = rng.integers(20, 120, size=3)
    high = low + rng.integers(70, 120, size=3)
    return colourise(_slope(height, width, rng.random() * 2 * np.pi), low, high)


def shape_depth(name: str) -> Floats:
    """Return the depth of each texel inside a shape in object radii, negative outside; (SPRITE_SIZE, SPRITE_SIZE)."""
    grid = ((np.arange(SPRITE_SIZE) + 0.5) / SPRITE_SIZE * 2 - 1) * SPRITE_REACH
    x, y = np.meshgrid(grid, grid)
    r = np.sqrt(x * x + y * y)
    if name == "disc":
        return 0.92 - r
    if name == "square":
        return 0.66 - np.maximum(abs(x), abs(y))
    if name == "bar":
        return np.minimum(0.88 - abs(x), 0.38 - abs(y))
    if name == "triangle":
        return np.minimum(0.45 - y, (0.9 + y - 1.732 * abs(x)) / 2)
    if name == "cross":
        return np.maximum(np.minimum(0.88 - abs(x), 0.3 - abs(y)), np.minimum(0.3 - abs(x), 0.88 - abs(y)))
    if name == "ring":
        return np.minimum(0.92 - r, r - 0.42)
    if name == "star":
        c = x / r
        ray = c * (5 + c * c * (16 * c * c - 20))  # cos(5 * angle) from c = cos(angle)
        return 0.68 + 0.24 * ray - r
    if name == "moon":
        return np.minimum(0.92 - r, np.sqrt((x - 0.5) * (x - 0.5) + y * y) - 0.55)
    if name == "ell":
        return np.minimum(0.66 - np.maximum(abs(x), abs(y)), np.maximum(-0.05 - x, y - 0.05))
    raise ValueError(f"name must be one of {', '.join(SHAPES)}, got {name!r}")


def sprite(rng: np.random.Generator) -> Bytes:
    """Draw a random shape with a bright texture, darker at its rim; RGB and opacity, (SPRITE_SIZE, SPRITE_SIZE, 4)."""
    depth = shape_depth(SHAPES[rng.integers(len(SHAPES))])
    field = texture(rng, SPRITE_SIZE, SPRITE_SIZE, cell=int(rng.integers(14, 29)))
    rim = 0.35 + 0.65 * np.clip(depth / 0.16, 0, 1)
    light = np.linspace(0.8, 1.0, SPRITE_SIZE)  # one side is darker, so that rotation shows on every shape
    shade = np.rint(rim * light * 256).astype(np.int32)[..., None]
    colours = colourise(field, _bright_colour(rng), _bright_colour(rng))
    opacity = np.rint(np.clip(depth / 0.08 + 0.5, 0, 1) * 255)[..., None]
    return np.concatenate([(colours * shade) >> 8, opacity], axis=-1).astype(np.uint8)


def _bright_colour(rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a saturated RGB colour: one strong, one weak and one arbitrary channel, in random order."""
    levels = np.array([rng.integers(200, 256), rng.integers(0, 60), rng.integers(0, 256)])
    return levels[np.argsort(rng.random(3))]


@dataclass(frozen=True, kw_only=True)
class Patches:
    """One object in every frame: square windows of side x side pixels, ready to be blended."""

    top: NDArray[np.int64]
    """First row of the window, (T,)."""
    left: NDArray[np.int64]
    """First column of the window, (T,)."""
    light: NDArray[np.uint16]
    """256 x opacity x colour, (T, side, side, C)."""
    opacity: NDArray[np.uint16]
    """Opacity from 0 to 255, the same for each colour, (T, side, side, C)."""


def place(image: Bytes, *, x: Floats, y: Floats, radius: Floats, angle: Floats, presence: Floats) -> Patches:
    """Rotate, scale and shift a sprite for each frame.

    Args:
        image: The sprite, (SPRITE_SIZE, SPRITE_SIZE, 4).
        x: Column of the object's centre, in pixels, (T,).
        y: Row of the centre, (T,).
        radius: Radius of the object in pixels, (T,).
        angle: Clockwise rotation in radians, (T,).
        presence: Factor on the sprite's opacity, from 0 to 1, (T,).
    """
    half = int(np.ceil(radius.max() * SPRITE_REACH)) + 1
    left, top = np.floor(x).astype(np.int64) - half, np.floor(y).astype(np.int64) - half
    steps = np.arange(2 * half + 1)
    dx, dy = (
        steps + (left - x)[:, None] + 0.5,
        steps + (top - y)[:, None] + 0.5,
    )  # (T, side), from centre to pixel
    texels = SPRITE_SIZE / (2 * SPRITE_REACH) / radius
    cos, sin = (cosine(angle) * texels)[:, None], (sine(angle) * texels)[:, None]
    middle = SPRITE_SIZE / 2
    col = _texel((cos * dx + middle)[:, None, :], (sin * dy)[:, :, None])  # (T, side, side)
    row = _texel((cos * dy + middle)[:, :, None], (-sin * dx)[:, None, :])
    pixels = image.view(np.uint32).ravel()  # fetches four bytes as one number
    seen = pixels.take(row * SPRITE_SIZE + col)[..., None].view(np.uint8)  # (T, side, side, 4)
    strength = np.rint(presence * 256).astype(np.uint16)[:, None, None, None]
    opacity = (
        (seen[..., 3:] * strength >> 8).astype(np.uint16).repeat(3, axis=-1)
    )  # (T, side, side, C): long rows blend faster
    return Patches(top=top, left=left, light=seen[..., :3] * opacity, opacity=opacity)


def _texel(one: Floats, other: Floats) -> NDArray[np.int32]:
    position = one.astype(np.float32) + other.astype(np.float32)
    return np.clip(position, 0, SPRITE_SIZE - 1, out=position).astype(np.int32)


def paste(patches: Patches, frames: Bytes, owners: Bytes, owner: int) -> None:
    """Blend an object into every frame, in place, and write `owner` where its opacity is at least one half.

    Args:
        patches: The object; its windows must lie within the frames.
        frames: (T, H, W, C).
        owners: (T, H, W).
        owner: Value to write into `owners`.
    """
    n = patches.opacity.shape[1]
    through = 256 - patches.opacity
    solid = patches.opacity[..., 0] >= 128
    light = patches.light + np.uint16(128)
    for t, (top, left) in enumerate(zip(patches.top, patches.left, strict=True)):
        window = np.s_[t, top : top + n, left : left + n]
        frames[window] = (frames[window] * through[t] + light[t]) >> 8
        owners[window][solid[t]] = owner
