"""A replay buffer that stores where a clip came from instead of what was seen of it."""

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
    """Transitions of one-step episodes: a clip's position in the stream, the scores it was given, and the reward.

    As observations, a transition would take 9 MiB at L = 1568; this takes 6 KiB. `sample` makes the clips again and
    embeds them under the MAE's present weights, so that observations are never out of date. Rewards are: they were
    paid by the MAE of their time, and a small buffer forgets them sooner.

    Give it to an algorithm as `replay_buffer_class`, then `attach` the environment: not an argument, which SB3 would
    write into its zip.

    Args:
        buffer_size: Transitions that are kept; the oldest make room for new ones.
        observation_space: As SB3 gives it.
        action_space: As SB3 gives it.
        device: As SB3 gives it.
        n_envs: B.
        optimize_memory_usage: Refused: no observations are stored.
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
        # Not ReplayBuffer's own, which makes arrays of observations.
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        self.optimize_memory_usage = False
        self.vector_env: TokenSelectionVectorEnv | None = None
        self.seed: int | None = None
        """Of the stream that the positions are of; None while nothing is stored."""
        self.positions = torch.zeros(buffer_size, dtype=torch.int64)
        # The mask is the K highest scores: in float16 close ones would tie, many of them where tanh saturates.
        self.scores = torch.zeros(buffer_size, self.action_dim)
        self.paid = torch.zeros(buffer_size)

    def attach(self, vector_env: TokenSelectionVectorEnv) -> None:
        """Make clips again from this environment's stream, and embed them under its MAE."""
        self.vector_env = vector_env

    def reset(self) -> None:
        """Forget all transitions."""
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
            ValueError: A clip has no position, or an episode goes on.
            RuntimeError: The stream has another seed than that of the positions that are stored.
        """
        positions = np.array([info["position"] for info in infos])
        if (positions < 0).any():
            raise ValueError(
                f"clips {np.flatnonzero(positions < 0).tolist()} of this step have no position in the stream, "
                "as reset(options={'clips': ...}) named them; they cannot be stored"
            )
        if not done.all():
            raise ValueError("an episode is one step, but some go on; ClipReplayBuffer stores no next observations")
        self.seed = self._stream_seed()
        rows = torch.arange(self.pos, self.pos + len(positions)) % self.buffer_size
        self.positions[rows] = torch.from_numpy(positions)
        self.scores[rows] = torch.from_numpy(action.reshape(len(positions), self.action_dim)).float()
        self.paid[rows] = torch.from_numpy(reward).float()
        self.full |= self.pos + len(positions) >= self.buffer_size
        self.pos = (self.pos + len(positions)) % self.buffer_size

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Draw transitions, with replacement, and make their clips again.

        Every episode ended, so algorithms multiply what they make of the next observations by zero: they are given
        the same ones again, which costs no decoding. In the place of clips that cannot be read any more come others of
        those that were drawn.

        Args:
            batch_size: Transitions.
            env: Must be None: nothing is normalised.

        Raises:
            RuntimeError: There is nothing to draw from, no environment, or its stream has another seed by now.
            VideoReadError: No clip can be made again, or too many cannot.
        """
        if env is not None:
            raise ValueError("ClipReplayBuffer does not normalise: take the environment out of its VecNormalize")
        if not self.size():
            raise RuntimeError("the replay buffer is empty")
        self._stream_seed()
        assert self.vector_env is not None
        rows = self._oldest_first()[torch.randint(self.size(), (batch_size,))]
        clips = self.vector_env.hand.stream.again(self.positions[rows].tolist())
        tokens = self.vector_env.embed(clips.pixels.to(self.vector_env.device)).float().to(self.device)  # (b, L, D)
        if len(clips) < batch_size:
            filled = torch.cat([torch.arange(len(clips)), torch.randint(len(clips), (batch_size - len(clips),))])
            rows, tokens = rows[torch.isin(self.positions[rows], clips.positions)][filled], tokens[filled]
        return ReplayBufferSamples(
            observations=tokens,
            actions=self.scores[rows].to(self.device),  # (b, L)
            next_observations=tokens,
            dones=torch.ones(batch_size, 1, device=self.device),
            rewards=self.paid[rows, None].to(self.device),  # (b, 1)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what is stored, oldest first, as tensors and plain values."""
        rows = self._oldest_first()
        return {
            "seed": self.seed,
            "positions": self.positions[rows],
            "scores": self.scores[rows],
            "rewards": self.paid[rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Store what `state_dict` returned instead; of more than there is room for, the newest."""
        if state["scores"].shape[1:] != (self.action_dim,):
            raise ValueError(f"expected scores of {self.action_dim} tokens, got shape {tuple(state['scores'].shape)}")
        count = min(len(state["positions"]), self.buffer_size)
        for name, held in (("positions", self.positions), ("scores", self.scores), ("rewards", self.paid)):
            held[:count] = state[name][len(state[name]) - count :]
        self.pos, self.full = count % self.buffer_size, count == self.buffer_size
        self.seed = state["seed"]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"vector_env": None}

    def _oldest_first(self) -> Tensor:
        """Rows that are stored, in the order in which they came."""
        first = self.pos if self.full else 0
        return (first + torch.arange(self.size())) % self.buffer_size

    def _stream_seed(self) -> int:
        if self.vector_env is None:
            raise RuntimeError("the replay buffer has no environment; call agent.replay_buffer.attach(env.vector_env)")
        seed = self.vector_env.hand.stream.seed
        if self.seed not in (None, seed):
            raise RuntimeError(
                f"the stream has the seed {seed}, and the {self.size()} transitions that are stored are of clips that "
                f"it gave under {self.seed}; call agent.replay_buffer.reset() after seeding anew"
            )
        return seed
