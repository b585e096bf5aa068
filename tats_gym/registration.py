"""The environment ids, one for each dataset, registered with Gymnasium by the names of their classes."""

import warnings
from importlib.metadata import entry_points
from typing import Any

import gymnasium

from tats_gym.datasets import DATASETS, Dataset, add_dataset
from tats_gym.messages import check_choice
from tats_gym.plugs import import_own

ENTRY_POINTS = "tats_gym.datasets"
"""The group of entry points of other packages: name of a dataset, and `module:object` of its `Dataset`."""

DEFAULT_ENV = "TatsMask-demo-v0"
"""The id of commands and settings that name none: it needs no data."""

FROZEN_ENV = "TatsMask-frozen-v0"
"""The id of the environment whose clips and MAE stay as they are. `env_ids` leaves it out: it reads the demo's dataset,
and `tats-gym train` cannot train its MAE."""
FROZEN_SETTINGS = {
    **{"data": "demo", "stride": 2, "frames": 8, "size": 24, "patch_size": 4, "tubelet_size": 4, "visible": 8},
    "mae": "frozen",
}
"""Its settings: clips of 2 x 6 x 6 tokens, for which the MAE "frozen" is shipped."""


def env_ids() -> tuple[str, ...]:
    """Return the ids of all datasets."""
    return tuple(f"TatsMask-{data}-v0" for data in DATASETS)


def scores_id(env_id: str) -> str:
    """Return the id of the same environment with `action="scores"`, for programs that take an id and no settings."""
    return env_id.replace("TatsMask-", "TatsMaskScores-")


def data_of(env_id: str) -> str:
    """Return the dataset that an id reads: TatsMask-ssv2-v0, TatsMaskScores-ssv2-v0, my:TatsMask-ssv2-v0 -> ssv2."""
    return env_id.rpartition(":")[2].split("-")[1]


def check_env_id(name: str, env_id: str) -> None:
    """Raise ValueError with the most similar id if no dataset has this id; it may follow a module, see `import_env`.

    The frozen environment's id is refused too: its error names the way to learn there.

    Args:
        name: The setting or option that gave it, for the message.
        env_id: The id.
    """
    module, _, bare = env_id.rpartition(":")
    if bare in (FROZEN_ENV, scores_id(FROZEN_ENV)):
        raise ValueError(
            f"{name} names {bare}, whose MAE stays as it is: agents learn there by Stable-Baselines3's `learn` "
            f"(docs/frozen.md); to train an MAE give --env {DEFAULT_ENV}"
        )
    if module and bare not in env_ids():
        raise ValueError(
            f"{name} names {bare}, which is not registered: import {module}, which registers its dataset, or give "
            f"--env {env_id}, which does"
        )
    check_choice(name, bare, env_ids())


def import_env(env_id: str) -> None:
    """Import the module before the colon of an id, as Gymnasium does, such as one of the working directory.

    Raises:
        ValueError: If there is no such module.
    """
    module, _, _ = env_id.rpartition(":")
    if module:
        import_own(module, f"--env {env_id}")


def register_dataset(name: str, dataset: Dataset) -> None:
    """Add a dataset, and register the ids TatsMask-NAME-v0 and TatsMaskScores-NAME-v0 with Gymnasium.

    Raises:
        ValueError: If the name is no word of an id, or is taken by another dataset.
    """
    env_id = f"TatsMask-{name}-v0"
    if env_id == FROZEN_ENV:
        raise ValueError(f"the id {FROZEN_ENV} is taken; choose another name than {name!r} for the dataset")
    add_dataset(name, dataset)
    settings = {"data": name, "stride": dataset.stride, **dataset.settings}
    _register(env_id, settings, "single:TokenSelectionEnv", "token_selection:TokenSelectionVectorEnv")


def _register(env_id: str, settings: dict[str, Any], single: str, vector: str) -> None:
    """Register an id, and that with scores, unless they are known; `single` and `vector` name classes of `envs`."""
    for each, action in ((env_id, {}), (scores_id(env_id), {"action": "scores"})):
        if each not in gymnasium.registry:
            gymnasium.register(
                each,
                entry_point=f"tats_gym.envs.{single}",
                vector_entry_point=f"tats_gym.envs.{vector}",
                kwargs={**settings, **action},
            )


def register_envs() -> None:
    """Register all ids; a dataset of an installed package that fails is named in a warning."""
    _register(FROZEN_ENV, FROZEN_SETTINGS, "frozen:FrozenTokenSelectionEnv", "frozen:FrozenTokenSelectionVectorEnv")
    for name, dataset in tuple(DATASETS.items()):
        register_dataset(name, dataset)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_dataset(point.name, point.load())
        except Exception as err:
            warnings.warn(f"the dataset {point.name!r} of {point.value} is left out: {err!r}", stacklevel=2)
