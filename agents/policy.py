"""The TATS sampler as an SB3 policy: an actor and a value network over patch tokens."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from agents.subset import PlackettLuce
from agents.trajectory_attention import TrajectoryBlock
from envs.spaces import Subset, TokenBox
from tats_gym.positions import LearnedPositions
from tats_gym.precision import Precision, autocast

Credit = Literal["token", "position", "joint"]


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """The sampler's architecture; the attention is the paper's, what lies around it our reading."""

    width: int | None = None
    """Width of actor and value network; None takes the tokens' own, else a linear layer comes first."""
    depth: int = 1
    """Trajectory-attention blocks."""
    head_dim: int = 64
    """Width of one attention head; must divide the width."""
    mlp_ratio: float = 0.0
    """Width of an MLP after each attention, in widths; 0 for none."""
    positions: Literal["tokens", "learned"] = "tokens"
    """tokens: those that the tokens bring, which their content drowns. learned: a norm, then positions of its own."""
    critic: Literal["separate", "shared"] = "separate"
    """separate: the value network has a trunk of its own. shared: it reads the actor's."""
    temperature: float = 1.0
    """Divides the logits; 1 in Table 1."""

    def __post_init__(self) -> None:
        if self.depth < 1 or self.temperature <= 0:
            raise ValueError(
                f"depth must be at least 1 and temperature positive, got {self.depth} and {self.temperature}"
            )
        for name, choices in (("critic", ("separate", "shared")), ("positions", ("tokens", "learned"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {getattr(self, name)!r}")


class Placed(nn.Module):
    """Brings tokens to unit variance and adds learned positions that start louder than that.

    Where same places look alike at all times, what a mask should do is spread, and only positions can say how.
    """

    def __init__(self, grid_shape: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.positions = LearnedPositions(grid_shape, width, std=2.0)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, width) to (B, L, width)."""
        placed: Tensor = self.norm(tokens) + self.positions()
        return placed


class Trunk(nn.Module):
    """Tokens in, tokens out: optionally another width and positions, then trajectory attention, a norm."""

    def __init__(self, config: SamplerConfig, embed_dim: int, grid_shape: tuple[int, int, int]) -> None:
        super().__init__()
        width = config.width or embed_dim
        if width % config.head_dim:
            raise ValueError(f"head_dim must divide the sampler's width, got {config.head_dim} and {width}")
        self.resize = nn.Identity() if width == embed_dim else nn.Linear(embed_dim, width)
        self.place = Placed(grid_shape, width) if config.positions == "learned" else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                TrajectoryBlock(width, width // config.head_dim, grid_shape[0], config.mlp_ratio)
                for _ in range(config.depth)
            )
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, L, D) to (B, L, width)."""
        normed: Tensor = self.norm(self.blocks(self.place(self.resize(tokens))))
        return normed


class TatsPolicy(ActorCriticPolicy):
    """Scores every token, draws K of them without replacement, and estimates the clip's value.

    An untrained policy draws uniformly: the last layer of the actor starts at zero.

    Args:
        observation_space: The environment's `TokenBox`.
        action_space: The environment's `Subset`.
        lr_schedule: As SB3 gives it.
        credit: What the log-probability, and so PPO's ratio, is taken of. "token": every token's own, (B, L), the
            paper's, for rollout buffers that pay each token. "position": the mean over the K draws, (B,), that is the
            geometric mean of their ratios. "joint": the sum over the K draws, (B,), whose ratio leaves the clip range
            after the smallest step.
        sampler: The architecture.
        precision: Arithmetic of the networks; logits and log-probabilities are float32.
        optimizer_class: As in SB3.
        optimizer_kwargs: As in SB3.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        credit: Credit = "position",
        sampler: SamplerConfig | None = None,
        precision: Precision = "auto",
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        if not isinstance(observation_space, TokenBox) or not isinstance(action_space, Subset):
            raise TypeError(
                "TatsPolicy needs a TokenBox of observations and Subset actions (action='ids'), "
                f"got {observation_space} and {action_space}"
            )
        if credit not in ("token", "position", "joint"):
            raise ValueError(f"credit must be 'token', 'position' or 'joint', got {credit!r}")
        if use_sde:
            raise ValueError("TatsPolicy draws subsets: use_sde does not apply")
        self.credit, self.sampler, self.precision = credit, sampler or SamplerConfig(), precision
        self.num_visible = action_space.num_visible
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        assert isinstance(self.observation_space, TokenBox)
        embed_dim, grid_shape = self.observation_space.shape[-1], self.observation_space.grid_shape
        width = self.sampler.width or embed_dim
        self.actor = Trunk(self.sampler, embed_dim, grid_shape)
        self.actor_head = nn.Linear(width, 1)
        separate = self.sampler.critic == "separate"
        self.critic = Trunk(self.sampler, embed_dim, grid_shape) if separate else None
        self.critic_head = nn.Linear(width, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for head in (self.actor_head, self.critic_head):
            nn.init.zeros_(head.weight)
        self.optimizer = self.optimizer_class(
            self.parameters(),
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )

    def get_distribution(self, obs: PyTorchObs) -> PlackettLuce:  # type: ignore[override]
        """Return the distribution over masks for tokens (B, L, D)."""
        assert isinstance(obs, Tensor)
        return self.score(obs)[0]

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Choose for tokens (B, L, D): actions (B, K) in draw order, values (B, 1), log-probabilities."""
        distribution, values = self.score(obs)
        ids = distribution.mode() if deterministic else distribution.sample()
        return ids, values, self._log_prob(distribution, ids)

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values (B, 1), log-probabilities in the form that `credit` says, and the first draw's entropy (B,)."""
        assert isinstance(obs, Tensor)
        distribution, values = self.score(obs)
        return values, self._log_prob(distribution, actions.long()), distribution.entropy()

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Estimate the value (B, 1) of tokens (B, L, D)."""
        assert isinstance(obs, Tensor)
        return self.score(obs)[1]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        distribution = self.get_distribution(observation)
        return distribution.mode() if deterministic else distribution.sample()

    def score(self, tokens: Tensor) -> tuple[PlackettLuce, Tensor]:
        """Return the distribution over masks for tokens (B, L, D), and the values (B, 1), in one pass."""
        with autocast(self.precision, self.device):
            acted = self.actor(tokens)  # (B, L, width)
            logits = self.actor_head(acted).squeeze(-1)  # (B, L)
            judged = acted if self.critic is None else self.critic(tokens)
            values = self.critic_head(judged.mean(1))  # (B, 1)
        return PlackettLuce(logits.float() / self.sampler.temperature, self.num_visible), values.float()

    def _log_prob(self, distribution: PlackettLuce, ids: Tensor) -> Tensor:
        if self.credit == "token":
            return distribution.token_log_prob  # (B, L)
        draws = distribution.log_prob(ids)  # (B, K)
        return draws.mean(1) if self.credit == "position" else draws.sum(1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "credit": self.credit,
            "sampler": self.sampler,
            "precision": self.precision,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
