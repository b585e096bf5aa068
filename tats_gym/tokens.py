"""The token grid: divides a clip into tokens, and gives their numbers, total and visible."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from einops import rearrange

from tats_gym.settings.config_io import check_plain
from tats_gym.settings.intervals import check_intervals

if TYPE_CHECKING:  # `import tats_gym` registers the ids without the seconds that torch takes
    from torch import Tensor

CHANNELS = 3

GridShape = tuple[int, int, int]
"""(t, h, w): tokens along time, height and width."""


@dataclass(frozen=True, kw_only=True)
class TokenGrid:
    """The geometry that a clip, a mask and an MAE share: the source of L, and of K unless a step draws its own."""

    frames: int = 16
    """Frames in a clip, T."""
    size: int = 224
    """Height and width of a clip in pixels, H = W."""
    tubelet_size: int = 2
    """Frames in a token."""
    patch_size: int = 16
    """Height and width of a token in pixels."""
    mask_ratio: float = 0.95
    """Share of the tokens that is hidden from the encoder, in (0, 1)."""
    visible: int | None = None
    """Number of visible tokens, K; overrides mask_ratio. Tube masking at .9 has 160, not int(.1 * 1568) = 156."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, frames="[1, inf)", size="[1, inf)", tubelet_size="[1, inf)", patch_size="[1, inf)")
        if self.frames % self.tubelet_size:
            raise ValueError(f"frames must be a multiple of tubelet_size, got {self.frames} and {self.tubelet_size}")
        if self.size % self.patch_size:
            raise ValueError(f"size must be a multiple of patch_size, got {self.size} and {self.patch_size}")
        check_intervals(self, mask_ratio="(0, 1)")
        if not 0 < self.num_visible < self.num_tokens:
            raise ValueError(
                f"at least one token must be visible and one hidden: of {self.num_tokens} tokens "
                f"{self.num_visible} would be visible (mask_ratio {self.mask_ratio}, visible {self.visible}); "
                "choose another mask_ratio, or a larger clip"
            )

    @property
    def shape(self) -> GridShape:
        """(t, h, w): tokens along time, height and width."""
        side = self.size // self.patch_size
        return self.frames // self.tubelet_size, side, side

    @property
    def num_tokens(self) -> int:
        """L = t * h * w."""
        t, h, w = self.shape
        return t * h * w

    @property
    def num_visible(self) -> int:
        """K: `visible`, or L * (1 - mask_ratio) rounded down, as AdaMAE does (235, 156, 78 at .85, .90, .95)."""
        if self.visible is not None:
            return self.visible
        return int(self.num_tokens * (1 - self.mask_ratio) + 1e-6)  # 200 * (1 - .9) is 19.999... in floats

    @property
    def num_hidden(self) -> int:
        """M = L - K."""
        return self.num_tokens - self.num_visible

    @property
    def patch_values(self) -> int:
        """P: pixel values in a token, channels included."""
        return CHANNELS * self.tubelet_size * self.patch_size**2

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip."""
        return CHANNELS, self.frames, self.size, self.size

    def cut(self, clips: "Tensor") -> "Tensor":
        """Cut clips (B, C, T, H, W) into tokens (B, L, P), values ordered channel, frame, row, column.

        Works on any dtype, so that uint8 clips can be cut before they become float.
        """
        if tuple(clips.shape[1:]) != self.clip_shape:
            raise ValueError(f"clips must be (B, {self.clip_shape}), got {tuple(clips.shape)}")
        p0, p1 = self.tubelet_size, self.patch_size
        pattern = "b c (t p0) (h p1) (w p2) -> b (t h w) (c p0 p1 p2)"
        return rearrange(clips, pattern, p0=p0, p1=p1, p2=p1)

    def join(self, tokens: "Tensor") -> "Tensor":
        """Join tokens (B, L, P) to clips (B, C, T, H, W): the inverse of `cut`."""
        t, h, w = self.shape
        p0, p1 = self.tubelet_size, self.patch_size
        pattern = "b (t h w) (c p0 p1 p2) -> b c (t p0) (h p1) (w p2)"
        return rearrange(tokens, pattern, t=t, h=h, w=w, p0=p0, p1=p1, p2=p1)
