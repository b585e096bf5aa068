"""The environment without video: clips in memory, an MAE that stays as it is, and their tokens and targets cached."""

from typing import NamedTuple

import torch
from gymnasium import error
from torch import Tensor, nn

from tats_gym.clips import FixedClips
from tats_gym.envs.single import TokenSelectionEnv
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.model.protocol import MaskedModel
from tats_gym.model.target import pick
from tats_gym.model.videomae import MaskedAutoencoder, Reconstruction
from tats_gym.train.precision import autocast

CLIPS_AT_ONCE = 256
"""Clips whose tokens are computed together when the cache is made."""


class TokenCache(NamedTuple):
    """An MAE's embeddings and targets of all tokens of V clips, which no mask changes."""

    tokens: Tensor
    """(V, L, D), embedded, position embeddings added."""
    targets: Tensor
    """(V, L, P) the values that the MAE predicts where a token is hidden."""


class FrozenTokenSelectionVectorEnv(TokenSelectionVectorEnv):
    """`TokenSelectionVectorEnv` for learning without video: thousands of masks a second on two CPU cores.

    Spaces, rewards, infos and arguments are those of the plain environment, and so are the rewards of a mask of a clip
    in its centre view. Two things differ. Every clip is the centre view of a video; all are decoded once, at the first
    reset, and stay in memory. And the MAE stays as it is: its embedding of every token and the values that it should
    predict are computed once, so that a step gathers them by clip and token, and runs encoder and decoder alone.

    After a change of its weights, give the MAE to `attach` again.

    ## Version History
    v0: first version.
    """

    stream_kind = FixedClips
    _cache: TokenCache | None = None

    def attach(self, mae: MaskedModel, with_gradients: nn.Module | None = None) -> None:
        """Use this MAE from now on, and compute the cache anew at the next use; arguments as of the plain environment.

        Raises:
            TypeError: If it is not tats_gym's MAE, whose parts the cache stands for.
            ValueError: If its grid differs from the environment's.
        """
        if not isinstance(mae, MaskedAutoencoder):
            raise TypeError(
                f"the frozen environment needs tats_gym's MaskedAutoencoder, got {type(mae).__name__}; other MAEs work "
                "in the environment of a dataset, such as TatsMask-demo-v0"
            )
        super().attach(mae, with_gradients)
        self._cache = None

    @property
    def mae(self) -> MaskedAutoencoder:
        """The attached MAE; without one, that of the setting `mae`."""
        mae = super().mae
        assert isinstance(mae, MaskedAutoencoder)
        return mae

    @property
    def cache(self) -> TokenCache:
        """Tokens and targets of all clips under the attached MAE, on the device.

        Raises:
            VideoReadError: If a video cannot be read.
        """
        if self._cache is None:
            assert isinstance(self.clip_buffer.stream, FixedClips)
            mae, pixels = self.mae, self.clip_buffer.stream.pixels
            with torch.no_grad(), autocast(self.config.precision, self.device):
                parts = [_cached(mae, clips.to(self.device)) for clips in pixels.split(CLIPS_AT_ONCE)]
            self._cache = TokenCache(*(torch.cat(part) for part in zip(*parts, strict=True)))
        return self._cache

    def observe(self) -> Tensor:
        """Return the tokens of the current clips, each once: (B / G, L, D) on the device."""
        self.clip_buffer.check_ready()
        ids = self.clip_buffer.clips[:: self.clip_buffer.masks_per_clip]
        return self.cache.tokens.index_select(0, ids.to(self.device))

    def _reconstruct(self, pixels: Tensor, ids_keep: Tensor, *, keep_graph: bool) -> tuple[Reconstruction, Tensor]:
        if keep_graph:
            raise error.Error(
                "keep_graph needs an MAE that is trained, but this environment's stays as it is; train one in the "
                "environment of a dataset, such as TatsMask-demo-v0"
            )
        mae, cache = self.mae, self.cache
        first = (self.clip_buffer.clips * self.grid.num_tokens).to(self.device)[:, None]  # of each clip's tokens
        with torch.no_grad(), autocast(self.config.precision, self.device):
            mask, hidden = mae.hide(ids_keep, self.config.decode_ratio)
            latent = mae.encoder(pick(cache.tokens, first + ids_keep))  # (B, K, D)
            pred = mae.decode(latent, ids_keep, hidden)  # (B, M, P)
            target = pick(cache.targets, first + hidden)  # (B, M, P)
            reconstruction = Reconstruction(pred, target, hidden, mask, mae.target.distance, mae.target.name)
            return reconstruction, reconstruction.errors


class FrozenTokenSelectionEnv(TokenSelectionEnv):
    """`FrozenTokenSelectionVectorEnv` for a single clip, with the same spaces, rewards and arguments."""

    vector_kind = FrozenTokenSelectionVectorEnv


def _cached(mae: MaskedAutoencoder, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Return the tokens (n, L, D) and the targets (n, L, P) of clips (n, C, T, H, W)."""
    every = torch.arange(mae.grid.num_tokens, device=clips.device).expand(len(clips), -1)
    return mae.embed(clips), mae.target(mae.grid.cut(clips), every)
