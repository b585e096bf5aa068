"""Detects a collapsing sampler, which its entropy hardly shows, and says which setting to change."""

import logging
from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.registry import AGENTS, Agent
from tats_gym.agents.training.callbacks import Evaluation
from tats_gym.agents.training.measures.evaluation import SamplerState

logger = logging.getLogger(__name__)

MAX_NEVER_CHOSEN, MAX_NEVER_CHOSEN_TOKEN_CREDIT = 0.5, 0.05
"""Share of tokens below a thousandth of the uniform probability; per-token credit never recovers one of them."""
MAX_LOGIT_DEVIATION = 5.0
"""Standard deviation of the logits: at 5, a token one deviation up is drawn 150 times as often as the mean one."""
MAX_CLIP_FRACTION = 0.3
"""Share of ratios outside PPO's clip range: they have no gradient."""


def symptoms(state: SamplerState | None, clip_fraction: float, config: PretrainConfig) -> Iterator[tuple[str, str]]:
    """Yield each symptom of a collapsing sampler: its name, and a sentence that says which setting to change.

    Args:
        state: State of its distribution on held-out clips; None for samplers without one.
        clip_fraction: Share of the last update's ratios outside the clip range.
        config: The run's settings.
    """
    tats, agent = config.tats, _agent(config)
    baseline = agent.baseline or tats.baseline
    by_token = agent.objective == "tats" and tats.credit == "token" and baseline != "none"
    if state is not None and state.never_chosen > (MAX_NEVER_CHOSEN_TOKEN_CREDIT if by_token else MAX_NEVER_CHOSEN):
        why = (
            "; credit 'token' with a baseline drops tokens of low error, however high the entropy: "
            f"{'--agent tats ' if agent.baseline else ''}--tats.baseline none keeps them"
            if by_token
            else ""
        )
        yield (
            "never_chosen",
            f"{state.never_chosen:.0%} of the tokens are below a thousandth of a uniform probability (entropy "
            f"{state.entropy_share:.0%} of uniform): they will hardly be visible again. {_advice(config)}{why}",
        )
    if state is not None and state.logit_deviation > MAX_LOGIT_DEVIATION:
        yield (
            "logit_deviation",
            f"the logits of a clip's tokens deviate by {state.logit_deviation:.1f}: masks hardly vary any more. "
            f"{_advice(config)}",
        )
    if clip_fraction > MAX_CLIP_FRACTION:
        ratio = "; the joint ratio of K draws leaves the range at the smallest step, --tats.credit position does not"
        yield (
            "clip_fraction",
            f"{clip_fraction:.0%} of the ratios are outside PPO's clip range and have no gradient. Lower "
            f"--tats.learning-rate ({tats.learning_rate:g}) or --tats.n-epochs ({tats.n_epochs})"
            f"{ratio if tats.credit == 'joint' else ''}",
        )


def _advice(config: PretrainConfig) -> str:
    """Return the advice that keeps an agent nearer to uniform."""
    tats, objective = config.tats, _agent(config).objective
    if objective == "tats":
        return f"Raise --tats.ent-coef (c3, {tats.ent_coef:g}) or lower --tats.policy-coef (c1, {tats.policy_coef:g})"
    if objective == "adamae":
        return f"It has no entropy term: lower --mae-optim.base-lr ({config.mae_optim.base_lr:g}), which trains it too"
    return f"Lower --tats.learning-rate ({tats.learning_rate:g}), or build the agent with an entropy bonus"


def _agent(config: PretrainConfig) -> Agent:
    """Return the facts of the run's agent, for another package's the defaults."""
    return AGENTS.get(config.agent, Agent(builder=config.agent))


class CollapseWatch(BaseCallback):
    """Warns of each symptom once.

    Args:
        evaluation: Measures the state of the sampler.
        config: The run's settings.
    """

    def __init__(self, evaluation: Evaluation, config: PretrainConfig) -> None:
        super().__init__()
        self.evaluation, self.config = evaluation, config
        self.warned: set[str] = set()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        clip_fraction = self.logger.name_to_value.get("train/clip_fraction", 0.0)
        for name, sentence in symptoms(self.evaluation.state, clip_fraction, self.config):
            if name not in self.warned:
                self.warned.add(name)
                logger.warning("the sampler is collapsing after %d masks: %s", self.num_timesteps, sentence)
