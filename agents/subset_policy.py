"""The base of SB3 policies that draw K of L tokens; subclasses add the network that scores tokens."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, Self, get_args

import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.envs.settings import EnvConfig
from tats_gym.envs.spaces import Subset, TokenBox
from tats_gym.masks import hidden_by
from tats_gym.messages import check_choice
from tats_gym.model.optim import MAEOptimConfig
from tats_gym.train.precision import AUTO, Precision

Credit = Literal["token", "draw", "position", "joint", "marginal"]

ADAMW = {"betas": MAEOptimConfig.betas, "weight_decay": MAEOptimConfig.weight_decay}
"""AdamW's settings for samplers, those of the MAE: betas of Table 1, weight decay of AdaMAE."""

PolicyOutput = tuple[PlackettLuce, Tensor]
"""The distribution over masks for each clip, and its values: (B, 1), or (B, L) with credit "marginal"."""


class MaskDistribution(Distribution):
    """Adapts `PlackettLuce` to SB3's interface, with log-probabilities in the form of `credit`.

    Args:
        distribution: The distribution over masks.
        credit: See `SubsetPolicy`.
    """

    distribution: PlackettLuce

    def __init__(self, distribution: PlackettLuce, credit: Credit) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.distribution, self.credit = distribution, credit

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the log-probability of visible tokens (B, K) in the form of `credit`.

        That is (B, M) of the hidden tokens, in ascending order; (B, K) of the draws; or (B,) of the masks.
        """
        if self.credit == "token":
            first_draw = self.distribution.token_log_prob  # (B, L)
            return first_draw.gather(1, hidden_by(x.long(), first_draw.shape[1]))
        draws = self.distribution.log_prob(x.long())  # (B, K)
        if self.credit in ("draw", "marginal"):
            return draws
        return draws.mean(1) if self.credit == "position" else draws.sum(1)

    def entropy(self) -> Tensor:
        """Return the entropy (B,) of the first draw."""
        return self.distribution.entropy()

    def sample(self) -> Tensor:
        """Draw visible tokens (B, K)."""
        return self.distribution.sample()

    def mode(self) -> Tensor:
        """Return the K likeliest tokens (B, K)."""
        return self.distribution.mode

    def proba_distribution(self, logits: Tensor) -> Self:
        """Take new logits (B, L) and return self."""
        self.distribution = PlackettLuce(logits, self.distribution.num_visible)
        return self

    def proba_distribution_net(self, *args: Any, **kwargs: Any) -> torch.nn.Module:
        """Raise NotImplementedError: a SubsetPolicy has its own network."""
        raise NotImplementedError("a SubsetPolicy scores tokens by a network of its own")

    def actions_from_params(self, logits: Tensor, deterministic: bool = False) -> Tensor:
        """Draw visible tokens (B, K) from logits (B, L)."""
        return self.proba_distribution(logits).get_actions(deterministic)

    def log_prob_from_params(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Draw visible tokens (B, K) from logits (B, L); return them with their log-probability."""
        ids_keep = self.actions_from_params(logits)
        return ids_keep, self.log_prob(ids_keep)


class SubsetPolicy(ActorCriticPolicy):
    """Scores every token, draws K of them without replacement, and estimates the clip's value.

    A subclass builds its networks in `_build`, which ends with `make_optimizer`, and runs them in `score`.

    Args:
        observation_space: The environment's `TokenBox`.
        action_space: The environment's `Subset`.
        lr_schedule: As SB3 passes it.
        credit: Form of the log-probability, and so of PPO's ratio. "token": one for each hidden token, (B, M), as in
            the paper, for advantages per token. "marginal": one for each draw, (B, K), for advantages per draw; values
            are then one for each token. "draw": the same ratios, as GRPO has one for each token of an answer, for
            advantages per mask. "position": the mean over the K draws, (B,), so that the ratio is the
            geometric mean of theirs; the default, since SB3's own algorithms take one number a mask. "joint": the sum
            over the K draws, (B,), whose ratio leaves the clip range after the smallest step.
        masks_per_clip: Masks that `forward` draws for each observation, in consecutive rows.
        precision: Arithmetic of the networks; logits and log-probabilities are float32.
        optimizer_class: As in SB3.
        optimizer_kwargs: As in SB3.
        use_sde: As SB3 passes it; must be False.

    Raises:
        TypeError: If the spaces are others.
        ValueError: If the credit is unknown, or `use_sde` is True.
    """

    estimates_value = True
    """Whether the values of `score` are estimates; otherwise they are zero."""
    grades_tokens = True
    """Whether tokens have graded probabilities, which `SamplerState` describes; False where a rule excludes some."""
    scores_alike_in_training = False
    """Whether `score` computes the same in training mode, as without dropout and batch statistics. Only then can an
    update reuse the output that drew the masks."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        credit: Credit = "position",
        masks_per_clip: int = EnvConfig.masks_per_clip,
        precision: Precision = AUTO,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.AdamW,
        optimizer_kwargs: dict[str, Any] | None = None,
        use_sde: bool = False,
    ) -> None:
        if not isinstance(observation_space, TokenBox) or not isinstance(action_space, Subset):
            raise TypeError(
                f"{type(self).__name__} needs a TokenBox of observations and Subset actions (action='ids'), "
                f"got {observation_space} and {action_space}"
            )
        check_choice("credit", credit, get_args(Credit))
        if use_sde:
            raise ValueError(f"{type(self).__name__} draws subsets: use_sde does not apply")
        self.credit, self.masks_per_clip, self.precision = credit, masks_per_clip, precision
        self.num_visible = action_space.num_visible
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    @property
    def value_per_token(self) -> bool:
        """Whether the values of `score` are (B, L), one for each token, instead of (B, 1)."""
        return self.credit == "marginal"

    @abstractmethod
    def score(self, tokens: Tensor) -> PolicyOutput:
        """Return the distribution over masks for tokens (B, L, D), and the values of `PolicyOutput`, in one pass."""

    def concatenated(self, outputs: Sequence[PolicyOutput]) -> PolicyOutput:
        """Concatenate the results of several calls of `score`, in the order of the clips."""
        logits, values = torch.cat([each.logits for each, _ in outputs]), torch.cat([each for _, each in outputs])
        return PlackettLuce(logits, self.num_visible), values

    def make_optimizer(self, lr_schedule: Schedule) -> None:
        """Make the optimiser of all parameters, without weight decay for vectors (biases, norms).

        Learned position embeddings decay, as in AdaMAE's sampler; an MAE's do not, see `tats_gym.model.optim`.
        """
        parameters = list(self.parameters())
        order = sorted(range(len(parameters)), key=lambda index: parameters[index].ndim < 2)
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in parameters if parameter.ndim >= 2]},
            {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = self.optimizer_class(
            groups,
            lr=lr_schedule(1),  # type: ignore[call-arg]
            **self.optimizer_kwargs,
        )
        self.optimizer.register_load_state_dict_pre_hook(lambda own, state: _regrouped(own, state, order))

    def get_distribution(self, obs: PyTorchObs) -> MaskDistribution:
        """Return the distribution over masks for tokens (B, L, D).

        With gradients enabled it is twice differentiable, as TRPO needs.
        """
        assert isinstance(obs, Tensor)
        # Fused attention has first derivatives only.
        with sdpa_kernel(SDPBackend.MATH) if torch.is_grad_enabled() else nullcontext():
            return MaskDistribution(self.score(obs)[0], self.credit)

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Draw G masks for each of tokens (B, L, D): actions (B * G, K) in draw order, values, log-probabilities.

        Values (B * G, 1), or (B * G, L), are equal for the masks of a clip; G is `masks_per_clip`.
        """
        return self.draw(self.score(obs), deterministic)

    def draw(
        self, output: PolicyOutput, deterministic: bool = False, num_visible: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw masks of K tokens, the action space's if None, from the result of `score`; returns as `forward` does."""
        scored, values = output
        output = scored if num_visible is None else scored.showing(num_visible), values
        distribution, values = self._for_each_mask(output, self.masks_per_clip)
        ids_keep = distribution.get_actions(deterministic)
        return ids_keep, values, distribution.log_prob(ids_keep)

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate actions (B * G, K) on tokens (B, L, D), as `evaluate_output` does."""
        assert isinstance(obs, Tensor)
        return self.evaluate_output(self.score(obs), actions)

    def evaluate_output(self, output: PolicyOutput, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate actions (B * G, K) under the result of `score`.

        Returns:
            Values (B * G, 1) or (B * G, L), log-probabilities in the form of `credit`, and the first draw's entropy
            (B * G,).
        """
        distribution, values = self._for_each_mask(output, len(actions) // len(output[1]))
        return values, distribution.log_prob(actions), distribution.entropy()

    def _for_each_mask(self, output: PolicyOutput, masks_per_clip: int) -> tuple[MaskDistribution, Tensor]:
        distribution, values = output
        return (
            MaskDistribution(distribution.repeated(masks_per_clip), self.credit),
            values.repeat_interleave(masks_per_clip, 0),
        )

    def predict_values(self, obs: PyTorchObs) -> Tensor:
        """Estimate the value (B, 1) of tokens (B, L, D), or the values (B, L)."""
        assert isinstance(obs, Tensor)
        return self.score(obs)[1]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        return self.get_distribution(observation).get_actions(deterministic)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "credit": self.credit,
            "masks_per_clip": self.masks_per_clip,
            "precision": self.precision,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def _regrouped(optimizer: torch.optim.Optimizer, state: dict[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """Return an optimiser's state in two parameter groups; older checkpoints have one, in the order of `parameters`.

    Args:
        optimizer: The optimiser that loads the state.
        state: The loaded state.
        order: Index in `parameters` of each parameter of the groups, one group after the other.
    """
    if len(state["param_groups"]) > 1:
        return state
    settings = state["param_groups"][0]
    groups = [
        settings | {name: group[name] for name in ("params", "weight_decay") if name in group}
        for group in optimizer.state_dict()["param_groups"]
    ]
    kept = {new: state["state"][old] for new, old in enumerate(order) if old in state["state"]}
    return {"state": kept, "param_groups": groups}
