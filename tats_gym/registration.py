"""The environment ids, registered with Gymnasium as strings: importing tats_gym is all it takes."""

from typing import Any

import gymnasium

DATASETS: dict[str, dict[str, Any]] = {
    "ssv2": {"stride": 2},
    "k400": {"stride": 4},
    "ucf101": {"stride": 2},
    "hmdb51": {"stride": 2},
    "list": {"stride": 2},
    "folder": {"stride": 2, "mae": "tiny", "size": 48, "mask_ratio": 0.8},
    "demo": {"stride": 2, "mae": "tiny", "size": 48, "mask_ratio": 0.8},
}
"""What each id's environment is made with where it departs from the defaults (16 frames, 224 px, ViT-B, .95)."""

ENV_IDS = tuple(f"TatsMask-{data}-v0" for data in DATASETS)


def data_of(env_id: str) -> str:
    """Return the dataset that an id reads: TatsMask-ssv2-v0 -> ssv2."""
    return env_id.split("-")[1]


def register_envs() -> None:
    """Register every id that Gymnasium does not know yet."""
    for data, settings in DATASETS.items():
        env_id = f"TatsMask-{data}-v0"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="tats_gym.envs.single:TokenSelectionEnv",
                vector_entry_point="tats_gym.envs.token_selection:TokenSelectionVectorEnv",
                kwargs={"data": data, **settings},
            )
