"""Scenes of the demo videos: procedural clips in which only motion reveals the class.

All classes share one distribution of scenes: a still backdrop that fades from one colour to another, a single object,
one that may be absent, and a pair, all small. So only a few tokens are hard to guess, and they differ from
clip to clip. A few parameters of a scene (`MOTIONS`) are drawn as a rising path over time. A class lets exactly one of
them follow its path, forwards or backwards, and freezes the others at a random moment of theirs. At a random time every
parameter therefore has the same distribution, moving or not: a single frame at a random time is independent of the
class. (Frame and time together are not: an object on the left of the first frame has not yet moved to the left.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tats_gym.clips.demo.drawing import Bytes, Floats, backdrop, cosine, ease, paste, place, sine, sprite
from tats_gym.datasets import TRAIN_VALIDATION
from tats_gym.messages import check_choice
from tats_gym.tokens import CHANNELS

DEMO_VERSION = 2
"""Version of the generator; any change of a pixel or a label raises it."""

FRAMES, HEIGHT, WIDTH, FPS = 48, 112, 144, 12

MOTIONS = ("x", "y", "size", "angle", "presence", "gap")
"""The parameters of a scene that a class may move, each rising for one class and falling for the next."""

DEMO_CLASSES = (
    "Moving [something] from left to right",
    "Moving [something] from right to left",
    "Moving [something] down",
    "Moving [something] up",
    "Moving [something] towards the camera",
    "Moving [something] away from the camera",
    "Turning [something] clockwise",
    "Turning [something] counterclockwise",
    "Making [something] appear",
    "Making [something] vanish",
    "Moving [something] and [something] away from each other",
    "Moving [something] and [something] closer to each other",
)
"""Templates in Something-Something's notation; a class's label is its index here."""

NOUNS = (
    "apple",
    "book",
    "bottle",
    "box",
    "candle",
    "coin",
    "cup",
    "key",
    "lemon",
    "mug",
    "pen",
    "shoe",
    "spoon",
    "toy",
)

MARGIN = 32
"""Pixels drawn beyond each edge of the frame, so that the edge can cut objects."""

SWAY = 1.0
"""Largest displacement of an object from its path in pixels."""


@dataclass(frozen=True, kw_only=True)
class DemoClip:
    """One video with its label and the exact pixels of its objects."""

    frames: Bytes
    """RGB, (T, H, W, C)."""
    objects: NDArray[np.bool_]
    """Pixels of any object, (T, H, W)."""
    acting: NDArray[np.bool_]
    """Pixels of the one or two objects that the label describes, (T, H, W)."""
    label: int
    """Index of the template in `DEMO_CLASSES`."""
    template: str
    text: str
    """The template in lower case with nouns in place of [something]."""
    placeholders: list[str]
    """The nouns that take the places."""


@dataclass(frozen=True, kw_only=True)
class _Body:
    """One object: its sprite, its pose in each frame (T,), and whether the label describes it."""

    image: Bytes
    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    presence: Floats
    acting: bool


def render_demo_clip(split: str, index: int) -> DemoClip:
    """Draw one clip, a pure function of its arguments. Classes take turns: the label is `index` modulo their number.

    Args:
        split: "train" or "validation".
        index: Number from 0; the dataset on disk holds the first ones, higher ones give further clips.

    Raises:
        ValueError: If there is no such split, or the index is negative.
    """
    check_choice("split", split, TRAIN_VALIDATION)
    if index < 0:
        raise ValueError(f"index must be at least 0, got {index}")
    seed = np.random.SeedSequence([DEMO_VERSION, TRAIN_VALIDATION.index(split), index])
    rng = np.random.Generator(np.random.PCG64(seed))
    label = index % len(DEMO_CLASSES)
    template = DEMO_CLASSES[label]
    placeholders = [NOUNS[i] for i in rng.integers(len(NOUNS), size=template.count("[something]"))]
    text = template.lower()
    for noun in placeholders:
        text = text.replace("[something]", noun, 1)
    frames, owners = _render(rng, _Scene(rng, moving=MOTIONS[label // 2], falling=label % 2 == 1).bodies())
    return DemoClip(
        frames=frames,
        objects=owners > 0,
        acting=owners == 2,
        label=label,
        template=template,
        text=text,
        placeholders=placeholders,
    )


class _Scene:
    """Draws the objects of one clip; `moving` names the one parameter that follows its path."""

    def __init__(self, rng: np.random.Generator, *, moving: str, falling: bool) -> None:
        self.rng = rng
        self.moving = moving
        self.falling = falling

    def bodies(self) -> list[_Body]:
        """Draw all objects, in drawing order: the furthest first."""
        bodies = [self.main(), self.guest(), *self.pair()]
        return [bodies[i] for i in np.argsort(self.rng.random(len(bodies)))]

    def main(self) -> _Body:
        """Draw an object anywhere in the frame, which may move, grow or turn."""
        return self.body(
            x=12 + 120 * self.track("x"),
            y=12 + 88 * self.track("y"),
            size=self.track("size"),
            angle=self.track("angle"),
            presence=None,
            acting=self.moving in ("x", "y", "size", "angle"),
        )

    def guest(self) -> _Body:
        """Draw a still object anywhere in the frame, which may be absent."""
        return self.body(
            x=12 + 120 * self.still(),
            y=12 + 88 * self.still(),
            size=self.still(),
            angle=self.still(),
            presence=self.track("presence"),
            acting=self.moving == "presence",
        )

    def pair(self) -> tuple[_Body, _Body]:
        """Draw two objects side by side, which touch at gap 0."""
        rng = self.rng
        sizes = self.still(), self.still()
        reach = 0.42 * (_radius(sizes[0]) + _radius(sizes[1])) + 26 * self.track("gap")
        tilt = (rng.random() - 0.5) * np.pi / 3
        x, y = 58 + 28 * rng.random(), 40 + 32 * rng.random()
        first, second = (
            self.body(
                x=x + side * reach * cosine(tilt),
                y=y + side * reach * sine(tilt),
                size=size,
                angle=self.still(),
                presence=None,
                acting=self.moving == "gap",
            )
            for side, size in zip((-1, 1), sizes, strict=True)
        )
        return first, second

    def body(
        self, *, x: Floats, y: Floats, size: Floats, angle: Floats, presence: Floats | None, acting: bool
    ) -> _Body:
        """Draw an object on its path, with a slight sway around it."""
        rng = self.rng
        turn = 2 * np.pi * rng.random() + (2 + 3 * rng.random()) * angle
        threshold = 0.4 + 0.2 * rng.random()
        return _Body(
            image=sprite(rng),
            x=x + _sway(rng, SWAY),
            y=y + _sway(rng, SWAY),
            radius=_radius(size),
            angle=turn + _sway(rng, SWAY / 12),
            presence=np.ones(FRAMES) if presence is None else np.clip(8 * (presence - threshold) + 0.5, 0, 1),
            acting=acting,
        )

    def track(self, motion: str) -> Floats:
        """Draw a path from 0 to 1, or from 1 to 0, if `motion` is the moving parameter; else like `still`; (T,)."""
        path, still = self.path()
        if motion != self.moving:
            return still
        return path[::-1] if self.falling else path

    def still(self) -> Floats:
        """Draw one random moment of a path, at all times; (T,)."""
        return self.path()[1]

    def path(self) -> tuple[Floats, Floats]:
        """Draw a rising path within [0, 1], and one of its moments at all times; (T,) each."""
        rng = self.rng
        start, end = 0.25 * rng.random(), 1 - 0.25 * rng.random()
        low, high = 0.25 * rng.random(), 1 - 0.25 * rng.random()
        path = low + (high - low) * ease((np.arange(FRAMES) / (FRAMES - 1) - start) / (end - start))
        return path, np.full(FRAMES, path[rng.integers(FRAMES)])


def _radius(size: Floats) -> Floats:
    """Return a radius from 8 to 18 pixels for a size from 0 to 1."""
    return 8 + 10 * size


def _sway(rng: np.random.Generator, max_amplitude: float) -> Floats:
    """Draw a slow oscillation around zero with a random amplitude of up to `max_amplitude`; (T,)."""
    period = 16 + 32 * rng.random()
    return max_amplitude * rng.random() * sine(2 * np.pi * (np.arange(FRAMES) / period + rng.random()))


def _render(rng: np.random.Generator, bodies: list[_Body]) -> tuple[Bytes, Bytes]:
    """Draw the bodies before a backdrop; frames (T, H, W, C) and owners (T, H, W): 0 none, 1 idle, 2 acting."""
    frames = np.zeros((FRAMES, HEIGHT + 2 * MARGIN, WIDTH + 2 * MARGIN, CHANNELS), np.uint8)
    owners = np.zeros(frames.shape[:3], np.uint8)
    inner = np.s_[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    frames[inner] = backdrop(rng, HEIGHT, WIDTH)
    for body in bodies:
        x, y = body.x + MARGIN, body.y + MARGIN
        patches = place(body.image, x=x, y=y, radius=body.radius, angle=body.angle, presence=body.presence)
        paste(patches, frames, owners, 2 if body.acting else 1)
    return frames[inner].copy(), owners[inner].copy()
