"""Agents with fixed masking rules: the baselines of a learned sampler."""

import math
from abc import abstractmethod
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.rollout_buffer import TokenRolloutBuffer
from tats_gym.agents.rollouts import TokenRollouts
from tats_gym.envs.sb3 import TokenSelectionVecEnv
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.envs.visible_count import VisibleCount
from tats_gym.masks import block_ids, frame_ids, most_moving_ids, tube_ids, uniform_ids
from tats_gym.tokens import GridShape


class FixedPolicy(BasePolicy):
    """Masks clips by a fixed rule.

    Raises:
        TypeError: If the environment's actions are not token indices.
    """

    forwards = 0
    """Forwards of the MAE that a mask takes."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule | None = None,
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        if not isinstance(observation_space, TokenBox) or not isinstance(action_space, Subset):
            raise TypeError(
                f"{type(self).__name__} needs a TokenBox of observations and Subset actions (action='ids'), "
                f"got {observation_space} and {action_space}"
            )
        self.grid_shape: GridShape = observation_space.grid_shape
        self.num_tokens = math.prod(self.grid_shape)
        self.num_visible = action_space.num_visible
        """Token ids in an action: the largest K."""

    @abstractmethod
    def ids_keep(self, clips: Tensor, num_visible: int) -> Tensor:
        """Return visible tokens (B, K) of clips (B, C, T, H, W) in uint8, on their device."""

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        raise ValueError(
            f"{type(self).__name__} chooses by pixels, but observations hold embeddings; call "
            "policy.ids_keep(clips, num_visible), e.g. with vector_env.clip_buffer.pixels"
        )


class MotionPolicy(FixedPolicy):
    """Shows the tokens whose pixels change most, in L2 distance, from one tubelet to the next."""

    def ids_keep(self, clips: Tensor, num_visible: int) -> Tensor:
        """Return the K tokens with most motion (B, K) of clips (B, C, T, H, W) in uint8, on their device."""
        return most_moving_ids(self.grid_shape, num_visible, clips)


class BlindPolicy(FixedPolicy):
    """Masks clips by a rule that does not depend on their content.

    Raises:
        ValueError: If the rule cannot show K tokens of the grid.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check(self.num_visible)

    @abstractmethod
    def rule(
        self, grid_shape: GridShape, num_visible: int, batch_size: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw visible tokens (B, K) of `batch_size` clips."""

    def check(self, num_visible: int) -> None:
        """Raise the rule's ValueError if it cannot show K tokens; draws no number of the run's."""
        self.rule(self.grid_shape, num_visible, 1, torch.Generator())

    def draw(self, num_visible: int, batch_size: int) -> Tensor:
        """Draw visible tokens (B, K) of `batch_size` clips."""
        return self.rule(self.grid_shape, num_visible, batch_size)

    def ids_keep(self, clips: Tensor, num_visible: int) -> Tensor:
        """Draw visible tokens (B, K) of B clips, on their device."""
        return self.draw(num_visible, len(clips)).to(clips.device)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        return self.draw(self.num_visible, len(observation)).to(observation.device)


class RandomPolicy(BlindPolicy):
    """Draws K of L tokens uniformly, as MAE-ST does."""

    rule = staticmethod(uniform_ids)


class TubePolicy(BlindPolicy):
    """Shows the same places of every tubelet, as VideoMAE does."""

    rule = staticmethod(tube_ids)


class FramePolicy(BlindPolicy):
    """Shows whole tubelets."""

    rule = staticmethod(frame_ids)


class BlockPolicy(BlindPolicy):
    """Hides one space-time block after another."""

    rule = staticmethod(block_ids)


class ConstantPolicy(RandomPolicy):
    """Shows the same K tokens of every clip, drawn once: the control for samplers that ignore the clip."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("ids", super().draw(self.num_visible, 1))

    def draw(self, num_visible: int, batch_size: int) -> Tensor:
        """Return the same visible tokens (B, K) for `batch_size` clips."""
        assert isinstance(self.ids, Tensor)
        return self.ids[:, :num_visible].expand(batch_size, -1)


class FixedMasks(TokenRollouts):
    """Trains the MAE on the masks of a fixed policy, which is the rule of every rollout.

    Args:
        policy: The policy's class.
        env: A `TokenSelectionVecEnv`.
        n_steps: Environment steps in a rollout; affects only the callbacks.
        seed: Seed of the masks.
        device: As in SB3.
        policy_kwargs: Further arguments of the policy, such as settings of its own.
    """

    def __init__(
        self,
        policy: type[FixedPolicy],
        env: TokenSelectionVecEnv,
        n_steps: int = 1,
        seed: int | None = None,
        device: torch.device | str = "auto",
        *,
        policy_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            policy,  # type: ignore[arg-type]
            env,
            learning_rate=0.0,
            n_steps=n_steps,
            gamma=1.0,
            gae_lambda=1.0,
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=torch.inf,
            use_sde=False,
            sde_sample_freq=-1,
            rollout_buffer_class=TokenRolloutBuffer,
            rollout_buffer_kwargs={  # of a buffer that stays empty
                "credit": "joint",
                "baseline": "none",
                "masks_per_clip": 1,
                "normalize_advantage": False,
            },
            policy_kwargs=policy_kwargs,
            seed=seed,
            device=device,
        )
        self._check_rule(env.vector_env.clip_buffer.visible)

    def _check_rule(self, visible: VisibleCount) -> None:
        """Raise the rule's ValueError if it cannot show one of the numbers of tokens that it will be asked for."""
        if isinstance(self.policy, BlindPolicy):
            for num_visible in range(visible.smallest, visible.largest + 1):
                self.policy.check(num_visible)

    @property
    def by_rule(self) -> bool:
        """Always True: a fixed policy is never updated."""
        return True

    def rule_ids(self, vector_env: TokenSelectionVectorEnv) -> Tensor:
        """Return the policy's visible tokens (B, K) of the current clips."""
        assert isinstance(self.policy, FixedPolicy)
        clips = vector_env.clip_buffer
        return self.policy.ids_keep(clips.for_each_mask(clips.pixels), clips.num_visible)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


def fixed_masks(
    policy: type[FixedPolicy], env: TokenSelectionVecEnv, config: PretrainConfig, settings: Any = None
) -> FixedMasks:
    """Make a fixed policy, with settings of its own if it has some."""
    return FixedMasks(
        policy,
        env,
        n_steps=config.tats.n_steps,
        seed=config.seed,
        device=env.vector_env.device,
        policy_kwargs=None if settings is None else {"config": settings},
    )
