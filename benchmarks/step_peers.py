"""The peers' training steps, tube-masked VideoMAE and AdaMAE as their code defines them, on clips ready in memory."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.distributions import Categorical

from tats_gym.benchmarks.published import PublishedMAE, PublishedSampler
from tats_gym.masks import mask_from_ids, tube_ids
from tats_gym.model.videomae import MAEConfig, initialise
from tats_gym.pixels import IMAGENET_MEAN, IMAGENET_STD
from tats_gym.tokens import TokenGrid
from tats_gym.train.precision import Precision, autocast

SAMPLING_COEF = 1e-4


def published_target(videos: Tensor, grid: TokenGrid) -> Tensor:
    """Return every token's values (B, L, P) from normalised videos (B, C, T, H, W), normalised token by token."""
    mean, std = (
        torch.tensor(each, device=videos.device)[:, None, None, None] for each in (IMAGENET_MEAN, IMAGENET_STD)
    )
    tokens = rearrange(
        videos * std + mean,
        "b c (t p0) (h p1) (w p2) -> b (t h w) (p0 p1 p2) c",
        p0=grid.tubelet_size,
        p1=grid.patch_size,
        p2=grid.patch_size,
    )
    std = tokens.var(dim=-2, unbiased=True, keepdim=True).sqrt()
    return ((tokens - tokens.mean(dim=-2, keepdim=True)) / (std + 1e-6)).flatten(2)


class PeerStep(ABC):
    """A peer's training step: target, loss, backward pass, optimiser step.

    Args:
        config: The MAE's widths and depths.
        grid: Geometry, with the K of this peer.
        videos: Normalised clips (B, C, T, H, W), float32, on the host, as the published loaders return them.
        device: Runs the step.
        precision: Arithmetic of the forward passes.
        fused: False: explicit softmax attention, AdamW as PyTorch chooses it, a norm of all gradients each step, as
            published. True: fused attention, fused AdamW, no norm.
    """

    def __init__(
        self,
        config: MAEConfig,
        grid: TokenGrid,
        videos: Tensor,
        *,
        device: torch.device,
        precision: Precision,
        fused: bool,
    ) -> None:
        self.grid, self.videos, self.device, self.precision, self.fused = grid, videos, device, precision, fused
        self.mae = PublishedMAE(config, grid, fused=fused)
        self.mae.apply(initialise)
        self.modules = nn.ModuleDict({"mae": self.mae, **self.parts(config)}).to(device).train()
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True if fused else None
        )

    def parts(self, config: MAEConfig) -> dict[str, nn.Module]:
        """Return the modules that are trained beside the MAE."""
        return {}

    @abstractmethod
    def loss(self, videos: Tensor, target: Tensor) -> Tensor:
        """Return the loss of normalised videos (B, C, T, H, W) with targets (B, L, P)."""

    def __call__(self) -> float:
        """Do one step; returns its loss."""
        videos = self.videos.to(self.device, non_blocking=True)
        with torch.no_grad():
            target = published_target(videos, self.grid)
        with autocast(self.precision, self.device):
            loss = self.loss(videos, target)
        value = loss.item()
        self.optimizer.zero_grad()
        loss.backward()
        if not self.fused:
            norms = [each.grad.norm() for each in self.modules.parameters() if each.grad is not None]
            torch.stack(norms).norm().item()
        self.optimizer.step()
        return value


class VideoMAEStep(PeerStep):
    """VideoMAE: the same places are visible in every tubelet; the masks come with the clips."""

    def loss(self, videos: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error of the hidden tokens."""
        ids_keep = tube_ids(self.grid.shape, self.grid.num_visible, len(videos))
        mask = mask_from_ids(ids_keep, self.grid.num_tokens).to(self.device)
        return self.errors(videos, target, mask).mean()

    def errors(self, videos: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Return the error (B, M) of every token that `mask` (B, L) hides."""
        return _errors(self.mae.reconstruct(self.mae.embed(videos), mask), target, mask)


class AdaMAEStep(PeerStep):
    """AdaMAE: a block of self-attention over all tokens samples the mask, and is trained clip by clip on the errors."""

    def parts(self, config: MAEConfig) -> dict[str, nn.Module]:
        """Return the sampler."""
        self.sampler = PublishedSampler(config.embed_dim, self.grid.num_tokens, fused=self.fused)
        self.sampler.apply(initialise)
        return {"sampler": self.sampler}

    def loss(self, videos: Tensor, target: Tensor) -> Tensor:
        """Return the reconstruction's loss plus the sampler's."""
        return self.losses(videos, target, lambda probs: torch.multinomial(probs, self.grid.num_visible))

    def losses(self, videos: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Return both losses' sum with masks (B, K) that `draw` makes of probabilities (B, L)."""
        tokens = self.mae.embed(videos)
        probs = self.sampler(tokens)
        mask = mask_from_ids(draw(probs), self.grid.num_tokens)
        errors = _errors(self.mae.reconstruct(tokens, mask), target, mask)
        sampling = torch.zeros(len(videos), device=self.device)
        for clip, clip_probs in enumerate(probs):
            everything = torch.arange(len(clip_probs), device=self.device)
            log_probs = Categorical(probs=clip_probs).log_prob(everything)
            sampling[clip] = -(log_probs[mask[clip]] * errors[clip].detach()).mean()
        return errors.mean() + SAMPLING_COEF * sampling.mean()


def _errors(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    wanted = target[mask].unflatten(0, (len(target), -1))
    errors: Tensor = (predicted - wanted).square().mean(-1)
    return errors
