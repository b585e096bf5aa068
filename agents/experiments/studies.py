"""The studies by name: what is compared with what, at which size."""

from collections.abc import Mapping
from dataclasses import replace

from tats_gym.agents.config import PRESETS, PretrainConfig, TatsConfig
from tats_gym.agents.experiments.study import Changes, Study
from tats_gym.model.training import MAEOptimConfig

_DEMO = replace(
    PRESETS["demo"],
    reward="neg_error",
    eval_clips=84,
    eval_masks=2,
    log_interval=10,
    keep_checkpoints=1,
)


def _trained(*, clips: int, num_envs: int, parts: int) -> PretrainConfig:
    """Return a run over so many clips, measured and saved at the end of each of its parts."""
    epoch = clips // parts
    return replace(
        _DEMO,
        num_envs=num_envs,
        epoch_clips=epoch,
        eval_interval=epoch,
        mae_optim=MAEOptimConfig(epochs=parts, warmup_epochs=1, base_lr=1e-3 * 256 / num_envs, min_lr=0.0),
        tats=TatsConfig(learning_rate=3e-3, warmup_epochs=0, policy_coef=1.0, vf_coef=1.0),
    )


def _uniform(clips: int) -> PretrainConfig:
    """Return the training of an MAE under uniform masks, 16 clips a step, at a constant learning rate."""
    config = _trained(clips=clips, num_envs=16, parts=10)
    optim = replace(config.mae_optim, min_lr=config.mae_optim.base_lr)
    return replace(config, agent="random", eval_interval=clips // 2, mae_optim=optim)


_START = _uniform(19_200)
_TOKEN: dict[str, Changes] = {
    "token": {"tats.credit": "token", "tats.ent_coef": 1.0},
    "token, no baseline": {"tats.credit": "token", "tats.baseline": "none", "tats.ent_coef": 1.0},
    "token, colder": {"tats.credit": "token", "tats.ent_coef": 0.1},
}
_POSITION: dict[str, Changes] = {
    f"position, {reward}": {"tats.credit": "position", "tats.ent_coef": 1e-4, "reward": reward}
    for reward in ("neg_error", "gain")
}
_JOINT: dict[str, Changes] = {
    f"joint, {reward}": {"tats.credit": "joint", "tats.ent_coef": 1e-3, "reward": reward}
    for reward in ("gain", "neg_error", "error")
}
_GROUP: dict[str, Changes] = {
    f"group of {masks}, {credit}": {
        "agent": "group",
        "masks_per_clip": masks,
        "tats.credit": credit,
        "tats.ent_coef": ent_coef,
    }
    for masks, credit, ent_coef in ((4, "joint", 1e-3), (8, "joint", 1e-3), (4, "position", 1e-4), (4, "token", 1.0))
}
_HALF: Changes = {"mae_optim.epochs": 6}  # the reward `gain` costs a second forward of each clip

STUDIES: Mapping[str, Study] = {
    "frozen": Study(
        about="Which credit and reward teach a sampler to lower the error of an MAE that does not change?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=3), train_mae=False),
        arms={**_JOINT, **_POSITION, **_TOKEN, "uniform": {"agent": "random", "mae_optim.epochs": 2}},
        measures=("masks_by_hand", "gradients_at_uniform"),
    ),
    "group": Study(
        about="Which needs fewer forwards of the MAE for the same gain, PPO's value network or a clip's other masks?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=12), train_mae=False),
        arms={
            "PPO, joint, gain": {**_JOINT["joint, gain"], **_HALF},
            "PPO, position, gain": {**_POSITION["position, gain"], **_HALF},
            "PPO, joint, neg_error": _JOINT["joint, neg_error"],
            **_GROUP,
        },
        race_to=0.03,
    ),
    "critic": Study(
        about="Does a value network in which only frames ask, not every token, teach a sampler as well?",
        start=_START,
        base=replace(_trained(clips=7_680, num_envs=64, parts=3), train_mae=False),
        arms={
            f"{critic}, {name}": {**_JOINT[name], "sampler.critic": critic}
            for name in ("joint, gain", "joint, neg_error")
            for critic in ("separate", "pooled", "shared")
        },
    ),
    "joint": Study(
        about="What does each credit do to sampler and MAE that learn together, after a start under uniform masks?",
        start=_START,
        base=_trained(clips=6_400, num_envs=16, parts=4),
        arms={
            "uniform": {"agent": "random"},
            "constant": {"agent": "constant"},
            **{arm: {**changes, "tats.n_steps": 2} for arm, changes in {**_TOKEN, **_POSITION, **_JOINT}.items()},
        },
        control="uniform",
    ),
    "decoder": Study(
        about="What does an MAE learn that decodes a part of the hidden tokens, and what is left of the rewards?",
        start=None,
        base=_START,
        arms={"all decoded": {}, "half decoded": {"decode_ratio": 0.5}, "quarter decoded": {"decode_ratio": 0.25}},
        control="all decoded",
        measures=("decoded_in_part",),
    ),
}
"""c1 is 1. Per-token credit has the paper's c3 = c1, or a tenth; a clip's advantage is smaller, and so is its c3."""
