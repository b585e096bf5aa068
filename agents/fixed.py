"""Agents that do not learn: the masks that a sampler has to beat."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from agents.rollouts import TokenRolloutBuffer, TokenRollouts
from envs.sb3 import TokenSelectionVecEnv
from envs.spaces import Subset
from envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids


class RandomPolicy(BasePolicy):
    """Draws K of L tokens uniformly, whatever it sees."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: Subset,
        lr_schedule: Schedule | None = None,
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        self.num_tokens, self.num_visible = action_space.num_tokens, action_space.num_visible

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        return self.draw(len(observation), observation.device)

    def draw(self, count: int, device: torch.device) -> Tensor:
        """Mask `count` clips (count, K) without looking at them."""
        return random_ids(count, self.num_tokens, self.num_visible, device=device)


class ConstantPolicy(RandomPolicy):
    """Shows the same K tokens of every clip, drawn once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("ids", random_ids(1, self.num_tokens, self.num_visible))

    def draw(self, count: int, device: torch.device) -> Tensor:
        """Mask `count` clips (count, K), all alike."""
        assert isinstance(self.ids, Tensor)
        return self.ids.to(device).expand(count, -1)


class RandomMasks(TokenRollouts):
    """Uniform random masks, as in MAE-ST: the phase before a sampler starts, without end."""

    policy_type: type[RandomPolicy] = RandomPolicy

    def __init__(
        self, env: TokenSelectionVecEnv, n_steps: int = 1, seed: int | None = None, device: torch.device | str = "auto"
    ) -> None:
        super().__init__(
            self.policy_type,  # type: ignore[arg-type]
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
            rollout_buffer_kwargs={"per_token": False},
            seed=seed,
            device=device,
        )

    @property
    def warming_up(self) -> bool:
        """Always: the masks stay uniform."""
        return True

    def unlearned_ids(self, vector_env: TokenSelectionVectorEnv) -> Tensor:
        """Mask the clips in hand (B, K)."""
        assert isinstance(self.policy, RandomPolicy)
        return self.policy.draw(vector_env.num_envs, vector_env.device)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy"], []


class ConstantMasks(RandomMasks):
    """One mask for every clip: the control that shows what a sampler gains by merely holding still."""

    policy_type = ConstantPolicy
