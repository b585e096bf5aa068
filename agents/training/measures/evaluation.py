"""Measures a sampler on held-out clips: one MAE's error under its masks and under fixed random ones."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.subset_policy import SubsetPolicy
from tats_gym.agents.training.measures.mask_statistics import mean_lift, overlap, std_within, visible_share
from tats_gym.agents.training.predict import choose, predict_masks
from tats_gym.clips import ClipStream, VideoReadError
from tats_gym.clips.readable import evenly_spaced, readable_clips
from tats_gym.envs.rewards import find_reward
from tats_gym.figures.masks import ClipMasks
from tats_gym.masks import random_ids
from tats_gym.model.errors import errors_under
from tats_gym.model.protocol import MaskedModel, device_of, evaluating
from tats_gym.motion import token_motion
from tats_gym.statistics import estimate
from tats_gym.train.precision import Precision, autocast, to_float32

NEVER_CHOSEN_RATIO = 1e-3
"""A token counts as never chosen if its probability over the uniform one is below this."""


@dataclass(frozen=True)
class HeldOutMetrics:
    """Means over the held-out clips and the masks drawn for each."""

    error_own: float
    """Mean hidden error under the agent's masks."""
    error_random: float
    """Mean hidden error under fixed random masks."""
    gain: float
    """error_random - error_own: above zero, the agent's masks are easier to complete than random ones."""
    gain_interval: float
    """Half-width of the 95 % interval of `gain`, by Student's t over clips; NaN for a single clip."""
    content_gain: float
    """Error under the agent's masks of other clips, minus error_own: zero if masks do not depend on the clip."""
    content_gain_interval: float
    """Half-width of the 95 % interval of `content_gain`, likewise."""
    num_clips: int
    """Number of held-out clips."""
    error_deviation: float
    """Deviation of the errors of a clip's tokens under the random masks, mean over clips: the scale of content gain."""
    overlap: float
    """Share of visible tokens that masks of two clips have in common: K / L for uniform masks, 1 for a constant one."""
    motion_lift: float
    """Motion (frame difference) of the chosen tokens over that of all tokens: 1 is chance."""


@dataclass(frozen=True)
class SamplerState:
    """Statistics of the token distribution, averaged over the held-out clips."""

    entropy_share: float
    """Entropy of the first draw over that of a uniform one, ln L."""
    subset_entropy: float
    """Entropy of the whole draw of K tokens, in nats, estimated along the drawn masks."""
    logit_deviation: float
    """Standard deviation of the logits over a clip's tokens."""
    never_chosen: float
    """Share of tokens whose probability is below a thousandth of the uniform one; collapse shows here first."""
    value_error: float
    """Root mean square error of the value against the reward, NaN without a value. With credit token the
    value is compared with the mean hidden error, with credit marginal the mean of the tokens' values is taken."""


class HeldOut:
    """A fixed batch of held-out clips with fixed random masks, on which an MAE measures policies.

    Args:
        stream: Source of the clips, in their centre view.
        mae: Embeds and reconstructs the clips; its grid and device are used.
        num_clips: Number of clips; all of a stream that has fewer.
        num_masks: Masks of each kind drawn for a clip, S.
        num_visible: K.
        batch_size: Clips in one forward pass.
        seed: Seed of the random masks and of the agent's draws; every measurement repeats both.
        reward: The environment's, for the value error.
        precision: Arithmetic of the forward passes.
    """

    def __init__(
        self,
        stream: ClipStream,
        mae: MaskedModel,
        *,
        num_clips: int,
        num_masks: int,
        num_visible: int,
        batch_size: int,
        seed: int,
        reward: str,
        precision: Precision,
    ) -> None:
        self.mae, self.num_masks, self.num_visible, self.seed = mae, num_masks, num_visible, seed
        self.batch_size, self.reward, self.precision = batch_size, reward, precision
        self.device = device_of(mae)
        self.stream = stream
        self.ids, self.clips = _readable_clips(stream, num_clips)  # clips (B, C, T, H, W)
        self.motion = token_motion(mae.grid.shape, self.clips) if mae.grid.shape[0] > 1 else None  # (B, L)
        self.visible_share: Tensor | None = None
        """(L,) share of the last measurement's masks in which a token is visible."""
        generator = torch.Generator().manual_seed(seed)
        num_tokens = mae.grid.num_tokens
        masks = [random_ids(len(self.ids), num_tokens, num_visible, generator=generator) for _ in range(num_masks)]
        self.random_ids_keep = torch.stack(masks)  # (S, B, K)

    def measure(self, policy: BasePolicy) -> tuple[HeldOutMetrics, SamplerState | None]:
        """Measure the agent's masks, and the state of its distribution if its policy grades tokens."""
        ids_keep = self.ids_keep(policy)
        self.visible_share = visible_share(ids_keep, self.mae.grid.num_tokens)
        errors, random = self.errors(ids_keep), self.errors_by_token(self.random_ids_keep)
        return self.metrics(ids_keep, errors, random), self._sampler_state(policy, ids_keep[0], errors[0])

    def metrics(self, ids_keep: Tensor, errors: Tensor, random: tuple[Tensor, Tensor]) -> HeldOutMetrics:
        """Compare masks with the random ones, and with themselves on other clips.

        Args:
            ids_keep: (S, B, K), S for each clip.
            errors: The `errors` (S, B) under them.
            random: The `errors_by_token` of `self.random_ids_keep`.
        """
        random_errors, by_token = random
        errors_of_others = self.errors(ids_keep.roll(1, dims=1))
        gain, content_gain = (
            estimate((worse - errors).mean(0).tolist()) for worse in (random_errors, errors_of_others)
        )
        return HeldOutMetrics(
            error_own=errors.mean().item(),
            error_random=random_errors.mean().item(),
            gain=gain.mean,
            gain_interval=gain.half_width,
            content_gain=content_gain.mean,
            content_gain_interval=content_gain.half_width,
            num_clips=len(self.ids),
            error_deviation=std_within(by_token),
            overlap=overlap(ids_keep, self.mae.grid.num_tokens),
            motion_lift=math.nan if self.motion is None else mean_lift(self.motion, ids_keep),
        )

    def ids_keep(self, policy: BasePolicy) -> Tensor:
        """Let the agent mask every clip: visible ids (S, B, K) on the host, S draws for each of the B clips."""
        batches = []
        with self._repeatably():
            for clips in self._batches():
                tokens = to_float32(self.mae.embed(clips))
                draws = [choose(policy, tokens, clips, self.num_visible) for _ in range(self.num_masks)]
                batches.append(torch.stack(draws).cpu())
        return torch.cat(batches, dim=1)

    def errors(self, ids_keep: Tensor, decode_ratio: float = 1.0) -> Tensor:
        """Return the mean error (S, B) of the hidden tokens that are decoded, under visible tokens (S, B, K)."""
        return self.errors_by_token(ids_keep, decode_ratio)[0]

    def errors_by_token(self, ids_keep: Tensor, decode_ratio: float = 1.0) -> tuple[Tensor, Tensor]:
        """Return the same mean errors (S, B), and each token's mean error (B, L) over the masks that predict it.

        A token that no mask predicts has NaN.
        """
        means, by_token = [], []
        with self._repeatably():
            for clips, masks in zip(self._batches(), ids_keep.split(self.batch_size, dim=1), strict=True):
                errors, errors_of_tokens = errors_under(self.mae, clips, masks, decode_ratio)
                means.append(errors.cpu())
                by_token.append(errors_of_tokens.cpu())
        return torch.cat(means, dim=1), torch.cat(by_token)

    def _sampler_state(self, policy: BasePolicy, all_ids_keep: Tensor, errors: Tensor) -> SamplerState | None:
        """Return the statistics of the distribution from one draw (B, K) for each clip and the errors (B,) under it."""
        if not isinstance(policy, SubsetPolicy) or not policy.grades_tokens:
            return None
        by_reward = policy.estimates_value and policy.credit not in ("token", "marginal")
        rows = []
        with self._repeatably():
            parts = (each.split(self.batch_size) for each in (all_ids_keep, errors, self.random_ids_keep[0]))
            for clips, ids_keep, targets, random_ids_keep in zip(self._batches(), *parts, strict=True):
                tokens = to_float32(self.mae.embed(clips))
                estimated = self._rewards(clips, ids_keep, random_ids_keep) if by_reward else targets.to(self.device)
                rows.append(_clip_statistics(policy, tokens, ids_keep.to(self.device), estimated))
        values = torch.cat(rows).mean(0)  # one row a clip
        values[-1] = values[-1].sqrt() if policy.estimates_value else math.nan
        return SamplerState(*values.tolist())

    def _rewards(self, clips: Tensor, ids_keep: Tensor, random_ids_keep: Tensor) -> Tensor:
        """Return the environment's rewards (B,) of masks, with a random mask of each clip where the reward needs it."""
        reward = find_reward(self.reward)
        masks = (ids_keep, random_ids_keep) if reward.needs_random_mask else (ids_keep,)
        return reward(*(self.mae(clips, each.to(self.device)).errors for each in masks))

    def _batches(self) -> Iterator[Tensor]:
        return (clips.to(self.device) for clips in self.clips.split(self.batch_size))

    def picture(self, policy: BasePolicy, name: str) -> tuple[Tensor, ClipMasks]:
        """Return the first clips (B, C, T, H, W), and their reconstruction under masks of the agent of this name."""
        with self._repeatably():
            clips = next(self._batches())
            ids_keep, probabilities = predict_masks(policy, self.mae, clips, self.num_visible)
            return clips, ClipMasks(name, self.mae(clips, ids_keep), probabilities)

    @contextmanager
    def _repeatably(self) -> Iterator[None]:
        """Use a separate random state, and the MAE without dropout; measuring does not change the training."""
        gpus = [self.device] if self.device.type == "cuda" else []
        arithmetic = autocast(self.precision, self.device)
        with torch.no_grad(), torch.random.fork_rng(devices=gpus), arithmetic, evaluating(self.mae):
            # Not `seed` itself: an agent that draws as `random_ids` does would repeat the masks of `random`.
            torch.manual_seed(self.seed + 1)
            yield


def held_out_for(config: PretrainConfig, mae: MaskedModel, *, num_masks: int) -> HeldOut:
    """Build the `HeldOut` of a run's settings, with `num_masks` masks a clip."""
    # In one worker process, if the run has any, so that a file that hangs the decoder does not hang the run.
    clips = replace(config.clips.held_out, num_workers=min(config.clips.num_workers, 1))
    stream = ClipStream(clips, frames=config.grid.frames, size=config.grid.size, seed=config.seed)
    held_out = HeldOut(
        stream,
        mae,
        num_clips=config.eval_clips,
        num_masks=num_masks,
        num_visible=config.grid.num_visible,
        batch_size=config.num_envs,
        seed=config.seed,
        reward=config.reward,
        precision=config.precision,
    )
    stream.close()
    return held_out


def _readable_clips(stream: ClipStream, num_clips: int) -> tuple[list[int], Tensor]:
    """Take evenly spaced clips, since lists are often sorted by class, and others in place of unreadable ones.

    Tries at most as many others as there are clips to take.
    """
    wanted = evenly_spaced(range(len(stream)), num_clips)
    others = evenly_spaced(sorted(set(range(len(stream))) - set(wanted)), num_clips)
    clips = readable_clips(stream, (*wanted, *others), len(wanted))
    if not clips:
        raise VideoReadError(
            f"none of the {len(wanted) + len(others)} held-out videos that were tried could be read; mend or remove "
            "those that are named above (a folder without lists then holds out others, by a hash of their names), or "
            "check all with tats-gym prepare verify"
        )
    return list(clips), torch.cat(list(clips.values()))


def as_metrics(prefix: str, values: Any) -> dict[str, float]:
    """Return the fields of a dataclass by their names in the log, without those that are None."""
    return {f"{prefix}/{name}": value for name, value in asdict(values).items() if value is not None}


def _clip_statistics(policy: SubsetPolicy, tokens: Tensor, ids_keep: Tensor, target: Tensor) -> Tensor:
    """Return each clip's statistics in the order of `SamplerState`, the value error still squared: (B, 5)."""
    distribution, values = policy.score(tokens)
    num_tokens = tokens.shape[1]
    columns = (
        distribution.entropy() / math.log(num_tokens),
        distribution.entropy_along(ids_keep),
        distribution.logits.std(1),
        (distribution.token_log_prob.exp() * num_tokens < NEVER_CHOSEN_RATIO).float().mean(1),
        (values.mean(1) - target) ** 2,
    )
    return torch.stack(columns, dim=1)
