"""A replay buffer that stores clip positions instead of observations."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from tats_gym.envs.token_selection import TokenSelectionVectorEnv


class ClipReplayBuffer(ReplayBuffer):
    """Stores one-step episodes: a clip's position in the stream, its scores and its reward.

    A transition takes 6 KiB at L = 1568; with its observations it would take 9 MiB. `sample` decodes the clips again
    and embeds them with the MAE's current weights, so that observations are always up to date. Rewards are not: they
    come from the MAE at the time of the step, and a smaller buffer discards them sooner.

    Pass it to an algorithm as `replay_buffer_class`, then `attach` the environment, which SB3 would write into its
    zip if it were an argument.

    Args:
        buffer_size: Number of transitions; new ones replace the oldest.
        observation_space: As SB3 passes it.
        action_space: As SB3 passes it.
        device: As SB3 passes it.
        n_envs: B.
        optimize_memory_usage: Must be False: no observations are stored.

    Raises:
        ValueError: If `optimize_memory_usage` is True, or `buffer_size` is below B.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
    ) -> None:
        if optimize_memory_usage:
            raise ValueError("ClipReplayBuffer stores no observations: optimize_memory_usage does not apply")
        if buffer_size < n_envs:
            raise ValueError(f"buffer_size must hold a step of all {n_envs} environments, got {buffer_size}")
        # ReplayBuffer.__init__ would allocate arrays of observations.
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        self.optimize_memory_usage = False
        self.vector_env: TokenSelectionVectorEnv | None = None
        self.seed: int | None = None
        """Seed of the stream that the stored positions refer to; None while the buffer is empty."""
        self.positions = torch.zeros(buffer_size, dtype=torch.int64)
        # The mask is the K highest scores: in float16 close scores would tie, many of them where tanh saturates.
        self.scores = torch.zeros(buffer_size, self.action_dim)
        self.stored_rewards = torch.zeros(buffer_size)

    def attach(self, vector_env: TokenSelectionVectorEnv) -> None:
        """Take clips from this environment's stream, and embeddings from its MAE."""
        self.vector_env = vector_env

    def reset(self) -> None:
        """Remove all transitions."""
        super().reset()
        self.seed = None

    def add(
        self,
        obs: NDArray[Any],
        next_obs: NDArray[Any],
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Store a step of all environments: `infos[i]["position"]`, scaled scores (B, L), rewards (B,).

        Raises:
            ValueError: If a clip has no position, or an episode has not ended.
            RuntimeError: If the stream's seed differs from that of the stored positions.
        """
        positions = np.array([info["position"] for info in infos])
        if (positions < 0).any():
            raise ValueError(
                f"clips {np.flatnonzero(positions < 0).tolist()} of this step have no position in the stream, "
                "since reset(options={'clips': ...}) named them; they cannot be stored"
            )
        if not done.all():
            raise ValueError(
                "every step must end its episode, since ClipReplayBuffer stores no next observations; "
                "for others use SB3's ReplayBuffer"
            )
        self.seed = self._stream_seed()
        rows = torch.arange(self.pos, self.pos + len(positions)) % self.buffer_size
        self.positions[rows] = torch.from_numpy(positions)
        self.scores[rows] = torch.from_numpy(action.reshape(len(positions), self.action_dim)).float()
        self.stored_rewards[rows] = torch.from_numpy(reward).float()
        self.full |= self.pos + len(positions) >= self.buffer_size
        self.pos = (self.pos + len(positions)) % self.buffer_size

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw transitions with replacement, and decode and embed their clips again.

        Next observations equal the observations, which saves decoding: every episode ended, so algorithms multiply
        the next value by zero. A clip that can no longer be read is replaced by another one of the batch.

        Args:
            batch_size: Number of transitions.
            env: Must be None: this buffer does not normalise.

        Raises:
            ValueError: If `env` is not None.
            RuntimeError: If the buffer is empty, has no environment, or the stream's seed has changed.
            VideoReadError: If no clip can be read again, or too many cannot.
        """
        if env is not None:
            raise ValueError("ClipReplayBuffer does not normalise: take the environment out of its VecNormalize")
        if not self.size():
            raise RuntimeError(
                "the replay buffer is empty: collect at least one step before sampling (learning_starts)"
            )
        self._stream_seed()
        assert self.vector_env is not None
        rows = self._oldest_first()[torch.randint(self.size(), (batch_size,))]
        clips = self.vector_env.clip_buffer.stream.again(self.positions[rows].tolist())
        tokens = self.vector_env.embed(clips.pixels.to(self.vector_env.device)).float().to(self.device)  # (B, L, D)
        if len(clips) < batch_size:
            filled = torch.cat([torch.arange(len(clips)), torch.randint(len(clips), (batch_size - len(clips),))])
            rows, tokens = rows[torch.isin(self.positions[rows], clips.positions)][filled], tokens[filled]
        return ReplayBufferSamples(
            observations=tokens,
            actions=self.scores[rows].to(self.device),  # (B, L)
            next_observations=tokens,
            dones=torch.ones(batch_size, 1, device=self.device),
            rewards=self.stored_rewards[rows, None].to(self.device),  # (B, 1)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the transitions, oldest first, as tensors and plain values."""
        rows = self._oldest_first()
        return {
            "seed": self.seed,
            "positions": self.positions[rows],
            "scores": self.scores[rows],
            "rewards": self.stored_rewards[rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace all transitions by those of a `state_dict`; if it holds more than `buffer_size`, by the newest.

        Raises:
            ValueError: If its scores are of another number of tokens.
        """
        if state["scores"].shape[1:] != (self.action_dim,):
            raise ValueError(f"expected scores of {self.action_dim} tokens, got shape {tuple(state['scores'].shape)}")
        count = min(len(state["positions"]), self.buffer_size)
        for name, held in (("positions", self.positions), ("scores", self.scores), ("rewards", self.stored_rewards)):
            held[:count] = state[name][len(state[name]) - count :]
        self.pos, self.full = count % self.buffer_size, count == self.buffer_size
        self.seed = state["seed"]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"vector_env": None}

    def _oldest_first(self) -> Tensor:
        """Return the rows in use, from the oldest transition to the newest."""
        first = self.pos if self.full else 0
        return (first + torch.arange(self.size())) % self.buffer_size

    def _stream_seed(self) -> int:
        if self.vector_env is None:
            raise RuntimeError("the replay buffer has no environment; call agent.replay_buffer.attach(env.vector_env)")
        seed = self.vector_env.clip_buffer.stream.seed
        if self.seed not in (None, seed):
            raise RuntimeError(
                f"the stream's seed is {seed}, but the {self.size()} stored transitions are of clips under the seed "
                f"{self.seed}; call agent.replay_buffer.reset() after a change of the seed"
            )
        return seed
