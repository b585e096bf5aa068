"""Reads a split's tokens again for each use: all tokens of many clips fit into no cache."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.decoder import Views
from tats_gym.model.encoder import VideoEncoder
from tats_gym.train.precision import Precision, autocast, resolve_device


@dataclass(frozen=True)
class TokenSource:
    """An encoder, and the clips of a split that it encodes without a gradient."""

    encoder: VideoEncoder
    clips: ClipConfig
    views: Views
    batch_size: int
    """Clips in one forward pass."""
    device: str
    precision: Precision

    def stream(self, seed: int) -> ClipStream:
        """Open the clips; `seed` is that of their order, windows and crops in training."""
        grid = self.encoder.grid
        return ClipStream(self.clips, frames=grid.frames, size=grid.size, seed=seed)

    def train_epoch(self, stream: ClipStream, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield tokens (B, L, D) and labels (B,) of an epoch, with windows and crops drawn as in training."""
        for start in range(0, len(stream), batch_size):
            batch = stream.take(min(batch_size, len(stream) - start))
            yield self._encode(batch.pixels), batch.labels.to(resolve_device(self.device))

    def in_views(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield tokens (B * R, L, D) and labels (B,) of all readable clips in their R fixed views."""
        stream, views = self.stream(0), self.views
        videos = max(1, self.batch_size // views.count)
        try:
            batches = stream.each(range(len(stream)), videos, temporal=views.temporal, spatial=views.spatial)
            for batch in filter(len, batches):
                yield self._encode(batch.pixels), batch.labels[:: views.count]
        finally:
            stream.close()

    def in_centre_view(self) -> "TokenSource":
        """Return the same clips in their centre view."""
        return replace(self, views=Views(1, 1))

    def _encode(self, pixels: Tensor) -> Tensor:
        device = resolve_device(self.device)
        encoder = self.encoder.to(device).eval()
        with torch.no_grad(), autocast(self.precision, device):
            return torch.cat([encoder(part.to(device)).float() for part in pixels.split(self.batch_size)])
