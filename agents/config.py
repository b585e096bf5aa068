"""All settings of a training run, and the named presets."""

import math
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal, Self

import tyro

from tats_gym.agents.older_settings import present_names
from tats_gym.agents.policy import SamplerConfig
from tats_gym.agents.tats import TatsConfig
from tats_gym.clips import ClipConfig
from tats_gym.datasets import DATASETS
from tats_gym.encoders.shipped import MAE_NAMES
from tats_gym.envs.rewards import REWARDS, check_reward_name
from tats_gym.envs.settings import EnvConfig
from tats_gym.messages import check_choice
from tats_gym.model.optim import MAEOptimConfig
from tats_gym.model.target import PIXELS
from tats_gym.model.videomae import MAE_PRESETS, MAEConfig
from tats_gym.registration import DEFAULT_ENV, check_env_id, data_of
from tats_gym.runs.trackers import TrackerName
from tats_gym.settings.config_io import check_plain, from_plain
from tats_gym.settings.intervals import SEEDS, check_intervals
from tats_gym.settings.paths import absolute, make_paths_absolute
from tats_gym.targets.table import CHOICES, checked_target
from tats_gym.tokens import TokenGrid
from tats_gym.train.precision import AUTO, Precision


@dataclass(frozen=True, kw_only=True)
class OffPolicyConfig:
    """How SAC, TD3 and TQC learn. Without gamma and tau: an episode is one step, and no value is bootstrapped."""

    learning_rate: float = 3e-4
    """Adam's, constant; of actor, critics and temperature."""
    buffer_size: int = 10_000
    """Transitions that are kept. A small buffer forgets sooner the rewards of an MAE that has learned since."""
    batch_size: int = 32
    """Transitions in an update, whose clips are decoded and embedded again."""
    learning_starts: int = 1_000
    """Masks with uniform scores before the first update, if tats.warmup_epochs are not longer."""
    train_freq: int = 1
    """Environment steps from one round of updates to the next."""
    gradient_steps: int = 1
    """Updates in a round."""
    ent_coef: float = 0.01
    """SAC's and TQC's temperature at the start, for one token: the worth of a nat of a token's score, in rewards that
    change with that token alone. It is learned."""
    target_entropy: float = -1.0
    """Entropy of a token's score in [-1, 1], in nats, that the learned temperature aims at; -1 is SB3's (std
    0.09), ln 2 = 0.69 would be uniform."""
    action_noise: float = 0.1
    """Std of TD3's noise on scores in [-1, 1]."""

    def __post_init__(self) -> None:
        check_plain(self)
        check_intervals(self, buffer_size="[1, inf)", batch_size="[1, inf)", learning_starts="[0, inf)")
        check_intervals(self, train_freq="[1, inf)", gradient_steps="[1, inf)")
        check_intervals(self, learning_rate="(0, inf)", ent_coef="(0, inf)", action_noise="[0, inf)")
        if self.target_entropy >= math.log(2):
            raise ValueError(f"target_entropy must lie below ln 2, got {self.target_entropy}")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One joint training of an agent and an MAE."""

    env: str = DEFAULT_ENV
    """Id of the environment."""
    agent: str = "tats"
    """Name of a registered agent, or module:function of your own; see agents/registry.py."""
    agent_settings: tyro.conf.Suppress[dict[str, Any]] = field(default_factory=dict, hash=False)
    """Settings of the agent's own as plain values, of the dataclass that its `with_settings` names. A command
    offers the fields of that dataclass."""
    num_envs: int = 32
    """B: masks in an environment step, of as many clips, which are reconstructed together; in each process."""
    masks_per_clip: int | None = None
    """G: environments in a row that hold the same clip; num_envs counts masks. None takes the agent's number."""
    visible_spread: float | None = None
    """Half-width, as a share of K, of the interval from which K is drawn anew for each step; held-out clips are masked
    with K itself. None takes the agent's."""
    reward: Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(REWARDS)}}}|MODULE:OBJECT")] = EnvConfig.reward
    """Reward of a clip, see envs/rewards.py; credit by the errors of tokens (tats.credit token and marginal) does not
    use it."""
    decode_ratio: float = EnvConfig.decode_ratio
    """Share of the hidden tokens that the MAE predicts while training, drawn anew for each mask (VideoMAE V2 takes
    half); errors, rewards and per-token credit are then of these, under a decoder that sees fewer tokens."""
    recompute: bool = False
    """Recompute the activations within the MAE's blocks in the backward pass: less memory, a third more work."""
    action: Literal["ids", "scores"] | None = None
    """K token indices, or a score for each token, of which the K highest count; None takes the agent's form."""
    seed: int = 0
    """Seed of weights, clips, crops and draws."""
    device: str = AUTO
    """auto takes CUDA where it is available."""
    precision: Precision = AUTO
    """auto takes bf16 on a GPU that has it."""
    epoch_masks: int | None = None
    """Masks in an epoch; None takes masks_per_clip for each training clip."""
    out: str = "runs"
    """Folder in which the run's own folder is made."""
    log_interval: int = 10
    """Rollouts from one line of the log to the next."""
    eval_interval: int | None = None
    """Masks from one measurement on held-out clips to the next; None takes an epoch."""
    eval_clips: int = 64
    """Held-out clips that are measured."""
    eval_masks: int = 4
    """Masks of each kind that are drawn for a held-out clip."""
    online_probe: Literal["knn", "logistic"] | None = None
    """knn: at each measurement, also classify held-out clips by the training clips with the nearest features of the
    encoder, and measure the features' rank; only for datasets with classes. logistic: classify them by logistic
    regression too. None: neither."""
    online_probe_clips: int = 1000
    """Most training clips that online_probe encodes, and most held-out ones. They are kept in memory: at 16 frames of
    224 x 224, 2.3 MiB each."""
    init_mae: str | None = None
    """The MAE that this run starts from, whose sizes replace those of mae: "demo" (shipped, of the demo's clips), or
    the path of a run, a checkpoint, an export, a Hugging Face VideoMAE folder, or a published VideoMAE or AdaMAE file;
    None starts from scratch."""
    own_mae: str | None = None
    """An MAE of your own, as module:function from a TokenGrid to the model, in place of the one that mae.* describe;
    init_mae may then name a run of it. See docs/plugs.md."""
    target: Annotated[str, tyro.conf.arg(metavar=f"{{{CHOICES}}}|MODULE:OBJECT")] = PIXELS
    """The values that the MAE predicts for hidden tokens, or module:object of your own; see docs/targets.md."""
    train_mae: bool = True
    """False leaves the MAE as it is: the sampler alone learns."""
    checkpoint_interval: int | None = None
    """Masks from one checkpoint to the next; None takes an epoch."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept."""
    keep_checkpoint_hours: float | None = None
    """Hours from one older checkpoint that is kept for good to the next; None keeps none."""
    quiet: bool = False
    """No progress bar, but a line every ten minutes."""
    track: TrackerName | None = None
    """Experiment tracker that gets the logged numbers too, by the extra of its name: pip install 'tats-gym[wandb]'."""
    clips: tyro.conf.OmitArgPrefixes[ClipConfig] = field(default_factory=ClipConfig)
    grid: tyro.conf.OmitArgPrefixes[TokenGrid] = field(default_factory=TokenGrid)
    mae: MAEConfig = field(default_factory=MAEConfig)
    mae_optim: MAEOptimConfig = field(default_factory=MAEOptimConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    tats: TatsConfig = field(default_factory=TatsConfig)
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)

    def __post_init__(self) -> None:
        check_plain(self)
        if self.init_mae is not None and self.init_mae not in MAE_NAMES and os.path.exists(absolute(self.init_mae)):
            make_paths_absolute(self, "init_mae")
        self._check_own_mae()
        check_env_id("env", self.env)
        check_reward_name(self.reward)
        object.__setattr__(self, "target", checked_target(self.target))
        if self.clips.data != data_of(self.env):
            raise ValueError(f"{self.env} reads {data_of(self.env)!r}, but clips.data is {self.clips.data!r}")
        counts = ("num_envs", "masks_per_clip", "epoch_masks", "log_interval", "eval_interval", "eval_clips")
        others = ("eval_masks", "online_probe_clips", "checkpoint_interval", "keep_checkpoints")
        check_intervals(self, **dict.fromkeys((*counts, *others), "[1, inf)"))
        check_intervals(self, keep_checkpoint_hours="(0, inf)", decode_ratio="(0, 1]", seed=SEEDS)
        check_intervals(self, visible_spread="[0, 1)")

    def _check_own_mae(self) -> None:
        """Check the settings that `own_mae` excludes, and set the unused `mae` to its defaults."""
        if self.own_mae is None:
            return
        if ":" not in self.own_mae:
            raise ValueError(f"own_mae must be module:function, got {self.own_mae!r}")
        if self.init_mae in MAE_NAMES:
            raise ValueError(
                f"init_mae {self.init_mae!r} is of another architecture than own_mae {self.own_mae}: start from "
                "scratch by --init-mae None, or name a run of this MAE"
            )
        if self.target != PIXELS:
            raise ValueError(f"target {self.target!r} is for tats_gym's MAE, got own_mae {self.own_mae}; leave one out")
        if self.online_probe is not None:
            raise ValueError(
                f"online_probe needs the encoder of tats_gym's MAE, got own_mae {self.own_mae}; leave one out"
            )
        if self.recompute:
            raise ValueError(f"recompute is for blocks of tats_gym's MAE, got own_mae {self.own_mae}; leave one out")
        object.__setattr__(self, "mae", MAEConfig())

    @property
    def env_settings(self) -> dict[str, Any]:
        """The settings of the environment, as `TokenSelectionVectorEnv` takes them."""
        names = ("reward", "action", "masks_per_clip", "visible_spread", "decode_ratio", "device", "precision")
        return {**asdict(self.clips), **asdict(self.grid), **{name: getattr(self, name) for name in names}}

    def steps_per_epoch(self, num_clips: int, ranks: int = 1) -> int:
        """Return the number of environment steps in an epoch; each of `ranks` processes has `num_clips` clips."""
        epoch = num_clips * (self.masks_per_clip or 1) if self.epoch_masks is None else self.epoch_masks / ranks
        return math.ceil(epoch / self.num_envs)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, for config.json and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the settings from the values of `as_dict`, of this version or an older one, as `from_plain` does.

        Raises:
            TypeError: If a setting is unknown, or of another type; the message names it.
            ValueError: If a setting is out of its range.
        """
        return from_plain(cls, present_names(values))


def _paper(data: str, epochs: int) -> PretrainConfig:
    """Return Table 1's recipe; epochs are Table 7's for SSv2, our reading for the others."""
    return PretrainConfig(
        env=f"TatsMask-{data}-v0",
        clips=ClipConfig(data=data, stride=DATASETS[data].stride, num_workers=8),
        mae_optim=MAEOptimConfig(epochs=epochs),
    )


def _grid(data: str) -> TokenGrid:
    """Return the geometry of a dataset's environment."""
    return TokenGrid(**{name: value for name, value in DATASETS[data].settings.items() if name != "mae"})


_FOLDER = PretrainConfig(
    env="TatsMask-folder-v0",
    agent="group",
    clips=ClipConfig(data="folder", num_workers=2, cache_mib=512),
    grid=_grid("folder"),
    mae=MAE_PRESETS[DATASETS["folder"].settings["mae"]],
    mae_optim=MAEOptimConfig(epochs=10, warmup_epochs=1, base_lr=0.016, min_lr=0.0032),
    sampler=SamplerConfig(width=64, pos_embed="learned", critic="separate"),  # for --agent tats; group has none
    tats=TatsConfig(
        learning_rate=2e-3,
        warmup_epochs=6,
        credit="marginal",
        normalize_advantage=True,
        policy_coef=1.0,
        vf_coef=1.0,
        ent_coef=0.7,
    ),
    off_policy=OffPolicyConfig(learning_rate=3e-3),
    epoch_masks=3200,
    eval_interval=3200,
    log_interval=5,
)
"""Small, from scratch, a quarter of an hour on two cores: learning rates high, credit the best of the studies."""

_DEMO = replace(
    _FOLDER,
    env=DEFAULT_ENV,
    clips=ClipConfig(data="demo", cache_mib=1024),
    init_mae="demo",
    mae_optim=MAEOptimConfig(epochs=4, warmup_epochs=1, base_lr=0.0032, min_lr=0.0032),
    tats=replace(_FOLDER.tats, warmup_epochs=0),
    epoch_masks=1600,
    eval_interval=1600,
)
"""A few minutes on two cores: goes on from the shipped MAE, at the learning rate with which its training ended."""


def _small(data: str) -> PretrainConfig:
    """Return the preset `folder` for another dataset."""
    clips = ClipConfig(data=data, stride=DATASETS[data].stride, num_workers=2)
    return replace(_FOLDER, env=f"TatsMask-{data}-v0", clips=clips, grid=_grid(data))


PRESETS = {
    "paper-ssv2": _paper("ssv2", 800),
    "paper-k400": _paper("k400", 800),
    "paper-ucf101": _paper("ucf101", 200),
    "paper-hmdb51": _paper("hmdb51", 200),
    "list": _paper("list", 200),
    "demo": _DEMO,
    "folder": _FOLDER,
    "atari": _small("atari"),
    "frames": _small("frames"),
    "images": _small("images"),
}


def preset_for(env_id: str, name: str | None = None) -> PretrainConfig:
    """Return the preset of this name for an id; without a name `paper-X` or X, or `list` where there is none.

    Raises:
        ValueError: If there is no such id or preset, with the nearest name.
    """
    check_env_id("--env", env_id)
    data = data_of(env_id)
    known = next((each for each in (f"paper-{data}", data) if each in PRESETS), None)
    check_choice("--preset", name or known or "list", tuple(PRESETS))
    preset = PRESETS[name or known or "list"]
    clips = replace(preset.clips, data=data)
    if name or known:
        return replace(preset, env=env_id, clips=clips)
    return replace(preset, env=env_id, clips=replace(clips, stride=DATASETS[data].stride))
