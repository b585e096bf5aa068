"""Policies for stock SAC and TD3 whose networks are shared by all tokens."""

from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.stock.networks import GaussianScores, ScoreCritic, TanhScores
from tats_gym.envs.spaces import ScoreBox, TokenBox
from tats_gym.train.precision import Precision

LOG_STD_INIT = -1.0
"""A deviation of 0.37 before tanh: scores are spread, so that masks begin uniform, and hardly saturate."""


class ScorePolicy(BasePolicy):
    """What these policies have in common; mix in before the algorithm's own.

    The algorithm's own networks would begin with a layer that takes all L x D numbers of an observation at once.

    Args:
        observation_space: The environment's `TokenBox`.
        action_space: The environment's `ScoreBox`.
        lr_schedule: As SB3 gives it.
        sampler: The architecture; `critic` and `temperature` have no part in it.
        precision: Arithmetic of the networks; scores, log-probabilities and values are float32.
        use_sde: As SB3 gives it; refused.
        settings: Those of the algorithm's own policy that `known` names.
    """

    known: ClassVar[tuple[str, ...]] = ("n_critics", "optimizer_class", "optimizer_kwargs")

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        sampler: SamplerConfig | None = None,
        precision: Precision = "auto",
        use_sde: bool = False,
        **settings: Any,
    ) -> None:
        name = type(self).__name__
        if not isinstance(observation_space, TokenBox) or not isinstance(action_space, ScoreBox):
            raise TypeError(
                f"{name} needs a TokenBox of observations and a ScoreBox of actions (action='scores'), "
                f"got {observation_space} and {action_space}"
            )
        if use_sde:
            raise ValueError(f"{name} draws each score by itself: use_sde does not apply")
        unknown = settings.keys() - set(self.known)
        if unknown:
            raise TypeError(f"{name} knows the settings sampler, precision, {', '.join(self.known)}; got {unknown}")
        self.sampler, self.precision, self.settings = sampler or SamplerConfig(), precision, settings
        super().__init__(observation_space, action_space, lr_schedule, **settings)

    @property
    def parts(self) -> tuple[TokenBox, ScoreBox, SamplerConfig, Precision]:
        """The arguments that all networks have."""
        assert isinstance(self.observation_space, TokenBox)
        assert isinstance(self.action_space, ScoreBox)
        return self.observation_space, self.action_space, self.sampler, self.precision

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "sampler": self.sampler,
            "precision": self.precision,
            **self.settings,
        }


class TokenSACPolicy(ScorePolicy, SACPolicy):
    """For `stable_baselines3.SAC`; see `ScorePolicy`, and `log_std_init` beside it."""

    known = (*ScorePolicy.known, "log_std_init")

    def make_actor(self, features_extractor: Any = None) -> GaussianScores:  # type: ignore[override]
        """Make the actor; there is no features extractor."""
        log_std_init = self.settings.get("log_std_init", LOG_STD_INIT)
        return GaussianScores(*self.parts, log_std_init=log_std_init).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> ScoreCritic:  # type: ignore[override]
        """Make the critics; there is no features extractor."""
        return ScoreCritic(*self.parts, n_critics=self.settings.get("n_critics", 2)).to(self.device)


class TokenTD3Policy(ScorePolicy, TD3Policy):
    """For `stable_baselines3.TD3`; see `ScorePolicy`."""

    def make_actor(self, features_extractor: Any = None) -> TanhScores:  # type: ignore[override]
        """Make the actor; there is no features extractor."""
        return TanhScores(*self.parts).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> ScoreCritic:  # type: ignore[override]
        """Make the critics; there is no features extractor."""
        return ScoreCritic(*self.parts, n_critics=self.settings.get("n_critics", 2)).to(self.device)
