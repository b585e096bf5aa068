"""TorchRL's EnvBase around the vector environment: clips, tokens, masks and rewards stay on its device as tensors."""

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from tats_gym.envs.outcome import Outcome
from tats_gym.envs.spaces import SCORE_LIMIT
from tats_gym.envs.token_selection import TokenSelectionVectorEnv
from tats_gym.masks import random_ids


class DistinctTokens(Categorical):
    """Specification of token ids (..., K) below `n` of which no two of a row are equal."""

    def rand(self, shape: torch.Size | tuple[int, ...] | None = None) -> Tensor:
        """Draw uniformly from all subsets."""
        whole = torch.Size([*(shape or ()), *self.shape])
        ids = random_ids(whole[:-1].numel(), self.n, whole[-1])
        return ids.view(whole).to(self.device or "cpu", self.dtype)

    def is_in(self, val: Tensor) -> bool:
        """Return whether all are in range and distinct."""
        ordered = val.sort(-1).values
        return bool(super().is_in(val)) and not bool((ordered[..., 1:] == ordered[..., :-1]).any())


class TokenSelectionTorchRL(EnvBase):
    """Presents the masking problem to TorchRL in batches of B clips, without a copy to the host.

    A tensordict holds `observation`, the tokens (B, L, D); `action`, ids (B, K) or scores (B, L) by the environment's
    setting; `reward` (B, 1), `done` and `terminated`. Actions are not checked, since a check waits for the device.

    Args:
        vector_env: A `TokenSelectionVectorEnv`, or the result of `gymnasium.make_vec`; under DISABLED, since TorchRL
            resets by itself.

    Raises:
        TypeError: If it is another environment.
        ValueError: If it resets by itself.
    """

    batch_locked = True

    def __init__(self, vector_env: Any) -> None:
        env = vector_env.unwrapped
        if not isinstance(env, TokenSelectionVectorEnv):
            raise TypeError(f"expected a TokenSelectionVectorEnv, got {type(env).__name__}; make it with make_vec")
        if env.config.autoreset_mode != "disabled":
            raise ValueError(
                f"TorchRL resets by itself: make the environment with autoreset_mode='disabled', got "
                f"{env.config.autoreset_mode!r}"
            )
        super().__init__(device=env.device, batch_size=torch.Size([env.num_envs]))
        self.vector_env = env
        self.outcome: Outcome | None = None
        """The last step's errors, predicted tokens and clips."""
        self._seed_of_reset: int | None = None
        self._tokens: Tensor | None = None
        self._set_specs()

    def _set_specs(self) -> None:
        env, batch, device = self.vector_env, self.batch_size, self.device
        tokens = Unbounded(
            shape=torch.Size((*batch, env.grid.num_tokens, env.mae.embed_dim)),
            dtype=torch.float32,
            device=device,
        )
        self.observation_spec = Composite(observation=tokens, shape=batch, device=device)
        shape = (*batch, env.clip_buffer.visible.largest)
        if env.config.action == "ids":
            self.action_spec = DistinctTokens(env.grid.num_tokens, torch.Size(shape), device, torch.int64)
        else:
            scores = torch.Size((*batch, env.grid.num_tokens))
            self.action_spec = Bounded(-SCORE_LIMIT, SCORE_LIMIT, shape=scores, dtype=torch.float32, device=device)
        self.reward_spec = Unbounded(shape=torch.Size((*batch, 1)), dtype=torch.float32, device=device)
        done = Binary(1, shape=torch.Size((*batch, 1)), dtype=torch.bool, device=device)
        self.done_spec = Composite(done=done, terminated=done.clone(), shape=batch, device=device)

    def _reset(self, tensordict: TensorDictBase | None, **kwargs: Any) -> TensorDictBase:
        options = None
        which = None if tensordict is None else tensordict.get("_reset", None)
        if which is not None and not which.all():
            options = {"reset_mask": which.view(-1).cpu().numpy()}
        self.vector_env.restart(seed=self._seed_of_reset, options=options)
        self._seed_of_reset = None
        self._tokens = self.vector_env.observe().float()
        return self._tensordict(terminated=False)

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        action = tensordict["action"]
        if self.vector_env.config.action == "scores":
            action = action.topk(self.vector_env.clip_buffer.visible.largest, dim=1).indices
        self.outcome = self.vector_env.step_tensors(action)
        following = self._tensordict(terminated=True)
        following["reward"] = self.outcome.rewards.float().view(-1, 1)
        return following

    def _tensordict(self, *, terminated: bool) -> TensorDict:
        """Return the current clips' tokens, which an episode of one step ends with too."""
        ended = torch.full((*self.batch_size, 1), terminated, device=self.device)
        values = {"observation": self._tokens, "done": ended, "terminated": ended.clone()}
        return TensorDict(values, batch_size=self.batch_size, device=self.device)

    def _set_seed(self, seed: int | None) -> None:
        self._seed_of_reset = seed

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the environment."""
        super().close(raise_if_closed=raise_if_closed)
        self.vector_env.close()
