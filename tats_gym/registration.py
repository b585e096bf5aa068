"""The environment ids, one for each dataset, registered with Gymnasium by the names of their classes."""

import gymnasium

from tats_gym.datasets import DATASETS

ENV_IDS = tuple(f"TatsMask-{data}-v0" for data in DATASETS)
SCORES_IDS = tuple(f"TatsMaskScores-{data}-v0" for data in DATASETS)
"""The same environments with `action="scores"`, for programs that take an id and no settings."""


def data_of(env_id: str) -> str:
    """Return the dataset that an id reads: TatsMask-ssv2-v0 and TatsMaskScores-ssv2-v0 -> ssv2."""
    return env_id.split("-")[1]


def register_envs() -> None:
    """Register every id that Gymnasium does not know yet."""
    for env_id in (*ENV_IDS, *SCORES_IDS):
        data = data_of(env_id)
        action = {"action": "scores"} if env_id in SCORES_IDS else {}
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="tats_gym.envs.single:TokenSelectionEnv",
                vector_entry_point="tats_gym.envs.token_selection:TokenSelectionVectorEnv",
                kwargs={"data": data, "stride": DATASETS[data].stride, **DATASETS[data].settings, **action},
            )
