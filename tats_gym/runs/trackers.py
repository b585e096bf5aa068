"""Writes a run's numbers to an experiment tracker too: Weights & Biases, MLflow or trackio, each by its own library."""

import json
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from stable_baselines3.common.logger import KVWriter, filter_excluded_keys

from tats_gym.files.atomic import write_whole

TrackerName = Literal["wandb", "mlflow", "trackio"]

PROJECT = "tats-gym"
"""Project or experiment of the runs; the libraries' own environment variables name others."""
IDS = "tracked.json"
"""File in a run's folder with its id at each tracker, under which a resumed run goes on."""


class Opened(NamedTuple):
    """A run at a tracker."""

    id: str
    """The run's id at the tracker, by which it goes on."""
    log: Callable[[dict[str, float], int], None]
    """Sends numbers of a step."""
    finish: Callable[[], None]
    """Ends the run at the tracker."""


class Tracker(KVWriter):
    """Writes the numbers of each dump to a tracker.

    Args:
        name: The tracker.
        folder: The run's folder, whose name the run has there too.
        settings: The run's settings by their dotted names.

    Raises:
        ValueError: If its library is not installed.
    """

    def __init__(self, name: TrackerName, folder: Path, settings: Mapping[str, Any]) -> None:
        try:
            library = import_module(name)
        except ModuleNotFoundError as err:
            raise ValueError(f"--track {name} needs {err.name}: pip install 'tats-gym[{name}]'") from err
        file = folder / IDS
        ids: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        self._run = OPEN[name](library, folder, settings, ids.get(name))
        write_whole(file, json.dumps({**ids, name: self._run.id}))

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Write the numbers that JSON would have."""
        values = filter_excluded_keys(key_values, key_excluded, "json").items()
        self._run.log(
            {name: float(value) for name, value in values if isinstance(value, int | float | np.number)}, step
        )

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


def _wandb(wandb: Any, folder: Path, settings: Mapping[str, Any], id_: str | None) -> Opened:
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=folder.name,
        dir=str(folder),
        config=dict(settings),
        id=id_,
        resume="allow",
    )
    return Opened(run.id, lambda numbers, step: run.log(numbers, step=step), run.finish)


def _mlflow(mlflow: Any, folder: Path, settings: Mapping[str, Any], id_: str | None) -> Opened:
    mlflow.set_experiment(PROJECT)
    run = mlflow.start_run(run_id=id_, run_name=folder.name)
    if id_ is None:
        mlflow.log_params(dict(settings))
    return Opened(run.info.run_id, lambda numbers, step: mlflow.log_metrics(numbers, step=step), mlflow.end_run)


def _trackio(trackio: Any, folder: Path, settings: Mapping[str, Any], id_: str | None) -> Opened:
    plain = {name: value if isinstance(value, int | float | str) else str(value) for name, value in settings.items()}
    run = trackio.init(project=PROJECT, name=id_ or folder.name, config=plain, resume="allow")
    return Opened(run.name, lambda numbers, step: trackio.log(numbers, step=step), trackio.finish)


OPEN: Mapping[TrackerName, Callable[[Any, Path, Mapping[str, Any], str | None], Opened]] = {
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
"""Name of a tracker, which is that of its library, to the function that begins a run there, or goes on with one."""
