"""PPO over tensors in one file: a sampler and an MAE learn together, and no observation leaves the device.

    python docs/examples/ppo_tensors.py --env-id TatsMask-demo-v0

One step is one episode, so a mask's return is its reward, and its advantage the reward above that of the clip's other
masks: there is neither a value network nor GAE. The order is that of a rollout: observe, draw, step, update the
sampler, step the MAE. `agents/tats.py` has the same with the paper's network, credit and schedules.
"""

from dataclasses import dataclass

import gymnasium
import torch
import tyro
from torch import Tensor, nn

import tats_gym  # noqa: F401 (registers the ids)
from tats_gym.agents.plackett_luce import PlackettLuce
from tats_gym.envs import TokenSelectionVectorEnv


@dataclass(frozen=True)
class Settings:
    """Settings of the run; PPO's have their usual names."""

    env_id: str = "TatsMask-demo-v0"
    root: str | None = None
    """Folder of the videos; None takes the dataset's own."""
    seed: int = 0
    device: str = "auto"
    updates: int = 100
    """Rollouts, each of one step of all environments."""
    num_envs: int = 32
    """B: masks in a rollout."""
    masks_per_clip: int = 4
    """G: masks of one clip, which are compared with each other."""
    n_epochs: int = 2
    """Passes over a rollout."""
    learning_rate: float = 1e-3
    clip_range: float = 0.2
    ent_coef: float = 1e-3
    mae: str = "demo"
    """The MAE to begin with: a preset, "demo", or the path of a run or export."""
    mae_learning_rate: float = 1e-4
    """0 leaves the MAE as it is."""


class Sampler(nn.Module):
    """Scores each token from its embedding and the clip's mean; the same score for all at the start."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.token, self.clip = nn.Linear(width, hidden), nn.Linear(width, hidden, bias=False)
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, L) of tokens (B, L, D)."""
        tokens = nn.functional.layer_norm(tokens.float(), tokens.shape[-1:])
        hidden = self.token(tokens) + self.clip(tokens.mean(1, keepdim=True))
        return self.score(nn.functional.gelu(hidden)).squeeze(-1)


def advantages_of(rewards: Tensor, masks_per_clip: int) -> Tensor:
    """Return each reward (B,) minus the mean of the clip's other masks, in units of their deviation."""
    by_clip = rewards.view(-1, masks_per_clip)
    others = (by_clip.sum(1, keepdim=True) - by_clip) / (masks_per_clip - 1)
    advantages = (by_clip - others).flatten()
    return advantages / (advantages.std() + 1e-8)


def sampler_loss(
    masks: PlackettLuce, ids_keep: Tensor, drawn: Tensor, advantages: Tensor, settings: Settings
) -> Tensor:
    """Return PPO's clipped loss, with a ratio for each of the K draws, minus the entropy bonus."""
    ratio = (masks.log_prob(ids_keep) - drawn).exp()  # (B, K)
    clipped = ratio.clamp(1 - settings.clip_range, 1 + settings.clip_range)
    gain = torch.minimum(ratio * advantages[:, None], clipped * advantages[:, None])
    entropy = -(masks.token_log_prob.exp() * masks.token_log_prob).sum(-1)  # of the first draw
    return -gain.sum(1).mean() - settings.ent_coef * entropy.mean()


def main(settings: Settings) -> None:
    """Train, and print reward and loss every ten rollouts."""
    torch.manual_seed(settings.seed)
    options = {} if settings.root is None else {"root": settings.root}
    env = gymnasium.make_vec(
        settings.env_id,
        num_envs=settings.num_envs,
        masks_per_clip=settings.masks_per_clip,
        reward="gain",
        mae=settings.mae,
        device=settings.device,
        **options,
    ).unwrapped
    assert isinstance(env, TokenSelectionVectorEnv)
    sampler = Sampler(env.mae.config.embed_dim).to(env.device)
    optimizer = torch.optim.Adam(sampler.parameters(), lr=settings.learning_rate)
    mae_optimizer = torch.optim.AdamW(env.mae.parameters(), lr=settings.mae_learning_rate, betas=(0.9, 0.95))
    env.keep_graph = settings.mae_learning_rate > 0
    env.restart(seed=settings.seed)
    for update in range(1, settings.updates + 1):
        tokens = env.observe()  # (B / G, L, D), on the device
        with torch.no_grad():
            masks = PlackettLuce(sampler(tokens), env.grid.num_visible).repeated(settings.masks_per_clip)
            ids_keep = masks.sample()  # (B, K)
            drawn = masks.log_prob(ids_keep)
        outcome = env.step_tensors(ids_keep)  # rewards (B,), and the next clips in hand
        advantages = advantages_of(outcome.rewards, settings.masks_per_clip)
        for _ in range(settings.n_epochs):
            masks = PlackettLuce(sampler(tokens), env.grid.num_visible).repeated(settings.masks_per_clip)
            optimizer.zero_grad()
            sampler_loss(masks, ids_keep, drawn, advantages, settings).backward()
            optimizer.step()
        assert env.loss is not None
        if env.keep_graph:
            mae_optimizer.zero_grad()
            env.loss.backward()
            mae_optimizer.step()
        if update % 10 == 0 or update == settings.updates:
            print(f"{update * settings.num_envs} masks: gain {outcome.rewards.mean():+.4f}, error {env.loss:.4f}")
    env.close()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
