"""The environment ids, one for each dataset, registered with Gymnasium by the names of their classes."""

import warnings
from importlib.metadata import entry_points

import gymnasium

from tats_gym.datasets import DATASETS, Dataset, add_dataset
from tats_gym.messages import check_choice
from tats_gym.plugs import import_own

ENTRY_POINTS = "tats_gym.datasets"
"""The group of entry points of other packages: name of a dataset, and `module:object` of its `Dataset`."""

DEFAULT_ENV = "TatsMask-demo-v0"
"""The id of commands and settings that name none: it needs no data."""


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
    """Raise ValueError with the most similar id if there is no such id; it may follow a module, see `import_env`.

    Args:
        name: The setting or option that gave it, for the message.
        env_id: The id.
    """
    module, _, bare = env_id.rpartition(":")
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
    add_dataset(name, dataset)
    env_id = f"TatsMask-{name}-v0"
    settings = {"data": name, "stride": dataset.stride, **dataset.settings}
    for each, action in ((env_id, {}), (scores_id(env_id), {"action": "scores"})):
        if each not in gymnasium.registry:
            gymnasium.register(
                each,
                entry_point="tats_gym.envs.single:TokenSelectionEnv",
                vector_entry_point="tats_gym.envs.token_selection:TokenSelectionVectorEnv",
                kwargs={**settings, **action},
            )


def register_envs() -> None:
    """Register the ids of all datasets, built in and of installed packages; one that fails is named in a warning."""
    for name, dataset in tuple(DATASETS.items()):
        register_dataset(name, dataset)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_dataset(point.name, point.load())
        except Exception as err:
            warnings.warn(f"the dataset {point.name!r} of {point.value} is left out: {err!r}", stacklevel=2)
