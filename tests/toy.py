"""A toy problem whose best action is known: an MAE whose error at each token can be read off the observation."""

import numpy as np
import torch
from torch import nn

from tats_gym.clips import ClipBatch, VideoReadError
from tats_gym.envs import TokenSelectionVecEnv, TokenSelectionVectorEnv
from tats_gym.masks import hidden_ids, mask_from_ids
from tats_gym.model.videomae import Reconstruction
from tats_gym.tokens import TokenGrid

WIDTH = 64
GRID = {"frames": 8, "size": 64, "visible": 8}
"""4 x 4 x 4 tokens, of which 8 are seen."""


class ToyMAE(nn.Module):
    """Errs by 2 at every fourth token and by 0.2 elsewhere, another fourth for each clip, and says so in its tokens.

    The best mask under neg_error shows half of the 16 hard tokens: the mean error is then (8 * 2 + 48 * 0.2) / 56.
    """

    embed_dim = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.grid = TokenGrid(**GRID)
        self.mask_token = nn.Parameter(torch.zeros(1))
        self.directions = nn.Parameter(torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0)))

    def hardness(self, clips):
        offset = clips.flatten(1).long().sum(1) % 4
        hard = (torch.arange(self.grid.num_tokens) + offset[:, None]) % 4 == 0
        return torch.where(hard, 2.0, 0.2)  # (B, L)

    def embed(self, clips):
        with torch.no_grad():
            hard = (self.hardness(clips) > 1).float()[..., None]
            return hard * self.directions[0] + (1 - hard) * self.directions[1]

    def forward(self, clips, ids_keep, decode_ratio=1.0):
        mask = mask_from_ids(ids_keep, self.grid.num_tokens)
        ids = hidden_ids(mask, self.grid.num_hidden)
        hardness = self.hardness(clips).repeat_interleave(len(ids_keep) // len(clips), 0)
        target = hardness.gather(1, ids).sqrt()[..., None]
        return Reconstruction(torch.zeros_like(target), target, ids, mask)


class NoiseStream:
    """Clips of noise, made without decoding anything."""

    def __init__(self) -> None:
        self.wait_s, self.broken = 0.0, {}
        self.broken_ids: tuple[int, ...] = ()
        self.seek(0, 0)

    def __len__(self) -> int:
        return 64

    def seek(self, position, seed=None):
        self.position, self.seed = position, self.seed if seed is None else seed

    def take(self, count):
        self.position += count
        return self.again(range(self.position - count, self.position))

    def centre(self, ids):
        if set(ids) & set(self.broken_ids):
            raise VideoReadError(f"clip {ids}")
        return self.take(len(ids))

    def again(self, positions):
        generators = (np.random.default_rng([self.seed, position]) for position in positions)
        shape = (3, GRID["frames"], GRID["size"], GRID["size"])
        pixels = np.stack([generator.integers(256, size=shape, dtype=np.uint8) for generator in generators])
        nowhere = torch.full((len(pixels),), -1)
        return ClipBatch(torch.from_numpy(pixels), torch.arange(len(pixels)), nowhere, torch.tensor(list(positions)))

    def close(self):
        pass


UNIFORM_ERROR = (16 * 2 + 48 * 0.2) / 64
BEST_ERROR = (8 * 2 + 48 * 0.2) / 56


def toy_env(root, num_envs=16, **settings):
    """An SB3 environment around the toy."""
    vector_env = TokenSelectionVectorEnv(
        num_envs, data="folder", root=str(root), stride=1, device="cpu", **GRID, **settings
    )
    vector_env.clip_buffer.stream.close()
    vector_env.clip_buffer.stream = NoiseStream()
    vector_env.attach(ToyMAE())
    vector_env.reset(seed=0)
    return TokenSelectionVecEnv(vector_env)
