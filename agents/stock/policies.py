"""Policies for SB3's SAC and TD3 with per-token networks."""

from typing import Any, ClassVar

from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.stock.networks import GaussianScores, ScoreCritic, TanhScores
from tats_gym.envs.spaces import ScoreBox, TokenBox
from tats_gym.train.precision import AUTO, Precision

LOG_STD_INIT = -1.0
"""A standard deviation of 0.37 before tanh: enough for uniform first masks, with scores far from saturation."""


class ScorePolicy(BasePolicy):
    """Mixin that gives an algorithm's policy per-token networks; mix in before that policy.

    SB3's own networks would begin with a layer on all L x D numbers of an observation.

    Args:
        observation_space: The environment's `TokenBox`.
        action_space: The environment's `ScoreBox`.
        lr_schedule: As SB3 passes it.
        sampler: Architecture of the networks; `critic` and `temperature` are unused.
        precision: Arithmetic of the networks; scores, log-probabilities and values are float32.
        use_sde: As SB3 passes it; must be False.
        settings: Arguments of the algorithm's own policy, among those in `known_settings`.

    Raises:
        TypeError: If the spaces are others, or a setting is unknown.
        ValueError: If `use_sde` is True.
    """

    critic_kwargs: dict[str, Any]
    """The algorithm's arguments of a critic, its defaults among them; SB3 sets them."""
    known_settings: ClassVar[tuple[str, ...]] = ("n_critics", "optimizer_class", "optimizer_kwargs")

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        sampler: SamplerConfig | None = None,
        precision: Precision = AUTO,
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
            raise ValueError(f"{name} draws each score independently: use_sde does not apply")
        unknown = settings.keys() - set(self.known_settings)
        if unknown:
            raise TypeError(
                f"{name} knows the settings sampler, precision, {', '.join(self.known_settings)}; got {unknown}"
            )
        self.sampler, self.precision, self.settings = sampler or SamplerConfig(), precision, settings
        super().__init__(observation_space, action_space, lr_schedule, **settings)

    @property
    def parts(self) -> tuple[TokenBox, ScoreBox, SamplerConfig, Precision]:
        """The arguments common to all networks."""
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
    """Policy of `stable_baselines3.SAC`; takes the arguments of `ScorePolicy`, and `log_std_init`."""

    known_settings = (*ScorePolicy.known_settings, "log_std_init")

    def make_actor(self, features_extractor: Any = None) -> GaussianScores:  # type: ignore[override]
        """Make the actor; there is no features extractor."""
        log_std_init = self.settings.get("log_std_init", LOG_STD_INIT)
        return GaussianScores(*self.parts, log_std_init=log_std_init).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> ScoreCritic:  # type: ignore[override]
        """Make the critics; there is no features extractor."""
        return ScoreCritic(*self.parts, n_critics=self.critic_kwargs["n_critics"]).to(self.device)


class TokenTD3Policy(ScorePolicy, TD3Policy):
    """Policy of `stable_baselines3.TD3`; takes the arguments of `ScorePolicy`."""

    def make_actor(self, features_extractor: Any = None) -> TanhScores:  # type: ignore[override]
        """Make the actor; there is no features extractor."""
        return TanhScores(*self.parts).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> ScoreCritic:  # type: ignore[override]
        """Make the critics; there is no features extractor."""
        return ScoreCritic(*self.parts, n_critics=self.critic_kwargs["n_critics"]).to(self.device)
