"""The measure of a sampler: error on held-out clips under its masks and under fixed random ones, by one MAE."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from agents.policy import TatsPolicy
from envs.rewards import REWARDS
from tats_gym.clips import ClipStream, VideoReadError
from tats_gym.mae import MaskedAutoencoder, Reconstruction
from tats_gym.masks import random_ids
from tats_gym.precision import Precision, autocast

logger = logging.getLogger(__name__)

NEVER = 1e-3


@dataclass(frozen=True)
class Scores:
    """Means over the held-out clips."""

    error_own: float
    """Mean hidden error under the agent's masks."""
    error_random: float
    """Mean hidden error under random masks that never change."""
    gain: float
    """error_random - error_own: above zero, the agent's masks are easier to complete than random ones."""
    gain_interval: float
    """Half-width of the 95 % interval of `gain`, over clips."""


@dataclass(frozen=True)
class SamplerState:
    """What the token distribution looks like; means over the held-out clips."""

    entropy_share: float
    """Entropy of the first draw over that of a uniform one, ln L."""
    subset_entropy: float
    """Entropy of the whole draw of K tokens, in nats, estimated along the masks drawn."""
    logit_deviation: float
    """Standard deviation of the logits over a clip's tokens."""
    never_chosen: float
    """Share of tokens whose probability is below a thousandth of the uniform one; collapse shows here first."""
    value_error: float
    """Root mean square of the value minus what it should predict (mean hidden error, or minus it)."""


class HeldOut:
    """A fixed batch of held-out clips, and fixed random masks for it.

    Args:
        stream: Clips to take from, in their centre view.
        mae: The MAE that is measured with; its grid and its device are used.
        num_clips: How many clips, fewer where the stream has fewer.
        num_visible: K.
        batch_size: Clips in one forward pass.
        seed: Of the random masks, and of the agent's draws: both are the same each time.
        reward: The environment's, for the value error.
        precision: Arithmetic of the forward passes.
    """

    def __init__(
        self,
        stream: ClipStream,
        mae: MaskedAutoencoder,
        *,
        num_clips: int,
        num_visible: int,
        batch_size: int,
        seed: int,
        reward: str,
        precision: Precision,
    ) -> None:
        self.mae, self.num_visible, self.seed = mae, num_visible, seed
        self.reward, self.precision = reward, precision
        self.device = mae.mask_token.device
        clips = _readable_clips(stream, num_clips)  # (n, C, T, H, W)
        self.batches = clips.split(batch_size)
        generator = torch.Generator().manual_seed(seed)
        num_tokens = mae.grid.num_tokens
        self.random = [random_ids(len(b), num_tokens, num_visible, generator=generator) for b in self.batches]

    def measure(self, policy: BasePolicy) -> tuple[Scores, SamplerState | None]:
        """Measure the agent's masks; the state of its distribution only where it has one (`TatsPolicy`)."""
        own, random, states = [], [], []
        with self._repeatably():
            for pixels, ids in zip(self.batches, self.random, strict=True):
                clips = pixels.to(self.device)
                tokens = self.mae.embed(clips).float()
                chosen = choose(policy, tokens, self.num_visible)
                errors, random_errors = (self.mae(clips, i).errors for i in (chosen, ids.to(self.device)))
                own.append(errors.mean(1))
                random.append(random_errors.mean(1))
                if isinstance(policy, TatsPolicy):
                    reward = REWARDS[self.reward](errors, random_errors)
                    target = errors.mean(1) if policy.credit == "token" else reward
                    states.append(_state(policy, tokens, chosen, target))
        scores = _scores(torch.cat(own), torch.cat(random))
        if not states:
            return scores, None
        values = torch.cat(states).mean(0)  # one row a clip
        values[-1] = values[-1].sqrt()
        return scores, SamplerState(*values.tolist())

    def picture(self, policy: BasePolicy) -> tuple[Tensor, Reconstruction, Tensor | None]:
        """Mask and reconstruct the first clips: pixels, reconstruction, and the sampler's probabilities (B, L)."""
        with self._repeatably():
            clips = self.batches[0].to(self.device)
            tokens = self.mae.embed(clips).float()
            chosen = choose(policy, tokens, self.num_visible)
            probabilities = None
            if isinstance(policy, TatsPolicy):
                probabilities = policy.get_distribution(tokens).token_log_prob.exp()
            return clips, self.mae(clips, chosen), probabilities

    @contextmanager
    def _repeatably(self) -> Iterator[None]:
        """Draw from a random state of its own, so that measuring changes nothing in the training."""
        gpus = [self.device] if self.device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices=gpus), autocast(self.precision, self.device):
            # Not `seed` itself: an agent that draws as `random_ids` does would draw the very masks of `random`.
            torch.manual_seed(self.seed + 1)
            yield


def _readable_clips(stream: ClipStream, num_clips: int) -> Tensor:
    """Take evenly spaced clips, since lists are often sorted by class; a video that cannot be read is left out."""
    clips = []
    for id_ in np.linspace(0, len(stream) - 1, min(num_clips, len(stream))).round().astype(int).tolist():
        try:
            clips.append(stream.centre([id_]).pixels)
        except VideoReadError as err:
            logger.warning("left out of the held-out clips: %s", err)
    if not clips:
        raise VideoReadError(f"none of the {min(num_clips, len(stream))} held-out videos could be read")
    return torch.cat(clips)


def _scores(own: Tensor, random: Tensor) -> Scores:
    gains = random - own
    interval = 1.96 * gains.std().item() / len(gains) ** 0.5 if len(gains) > 1 else math.nan
    return Scores(own.mean().item(), random.mean().item(), gains.mean().item(), interval)


def choose(policy: BasePolicy, tokens: Tensor, num_visible: int) -> Tensor:
    """Let any SB3 policy choose for tokens (B, L, D): its token ids (B, K), or the K highest of its scores."""
    with torch.no_grad():
        actions = policy._predict(tokens, deterministic=False)
    if actions.shape[1] == tokens.shape[1]:
        return actions.topk(num_visible, dim=1).indices
    return actions


def as_metrics(prefix: str, values: Any) -> dict[str, float]:
    """Name the fields of a dataclass for the logger."""
    return {f"{prefix}/{name}": value for name, value in asdict(values).items()}


def _state(policy: TatsPolicy, tokens: Tensor, chosen: Tensor, target: Tensor) -> Tensor:
    """Return a clip's row of what SamplerState means, the value error still squared: (B, 5)."""
    distribution, values = policy.score(tokens)
    num_tokens = tokens.shape[1]
    columns = (
        distribution.entropy() / math.log(num_tokens),
        distribution.entropy_along(chosen),
        distribution.logits.std(1),
        (distribution.token_log_prob.exp() * num_tokens < NEVER).float().mean(1),
        (values.flatten() - target) ** 2,
    )
    return torch.stack(columns, dim=1)
