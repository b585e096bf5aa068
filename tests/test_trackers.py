"""Numbers of a run at experiment trackers; tried with wandb 0.31 (offline), mlflow 3.17 and trackio 0.43 themselves."""

import json
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from tats_gym.runs.logger import COMPARED, run_logger
from tats_gym.runs.trackers import Tracker
from tests.runs import load_command, tiny_config, train

SETTINGS = {"env": "TatsMask-folder-v0", "tats.learning_rate": 0.1, "init_mae": None}


class Recorder:
    """Stands for each of the three libraries: records what their functions are given."""

    def __init__(self) -> None:
        self.begun, self.rows, self.ended = [], [], 0
        self.info = SimpleNamespace(run_id="m1")
        self.id, self.name = "w1", "t1"

    def init(self, **given):
        self.begun.append(given)
        return self

    def start_run(self, **given):
        self.begun.append(given)
        return self

    def log(self, numbers, step):
        self.rows.append((step, numbers))

    def finish(self):
        self.ended += 1

    def set_experiment(self, name):
        self.experiment = name

    def log_params(self, settings):
        self.params = settings

    log_metrics, end_run = log, finish


@pytest.mark.parametrize(("name", "id_"), [("wandb", "w1"), ("mlflow", "m1"), ("trackio", "t1")])
def test_numbers_and_settings_arrive_and_a_resumed_run_goes_on(tmp_path, monkeypatch, name, id_):
    library = Recorder()
    monkeypatch.setitem(sys.modules, name, library)
    for step in (5, 9):
        logger = run_logger(tmp_path, step, SETTINGS, name)
        logger.record("mae/loss", 0.5)
        logger.record("note", "text")
        logger.dump(step)
        logger.close()
    assert library.rows == [(5, {"mae/loss": 0.5}), (9, {"mae/loss": 0.5})]
    assert library.ended == 2
    assert json.loads((tmp_path / "tracked.json").read_text()) == {name: id_}
    first, second = library.begun
    again = {"wandb": "id", "mlflow": "run_id", "trackio": "name"}[name]
    assert first[again] in (None, tmp_path.name)
    assert second[again] == id_
    given = library.params if name == "mlflow" else first["config"]
    assert given["tats.learning_rate"] == 0.1


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, clips_root, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"--track wandb needs wandb: pip install 'tats-gym\[wandb\]'"):
        Tracker("wandb", tmp_path, SETTINGS)
    words = f"--env TatsMask-folder-v0 --root {clips_root} --out {tmp_path / 'runs'} --quiet --device cpu --track wandb"
    assert load_command("train").main(words.split()) == 1
    assert "pip install 'tats-gym[wandb]'" in capsys.readouterr().err


def test_tensorboard_compares_runs_by_their_settings(clips_root, tmp_path):
    _, result = train(tiny_config(clips_root, tmp_path))
    events = EventAccumulator(str(result.folder)).Reload()
    plugin = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(plugin).session_start_info.hparams
    assert given["agent"].string_value == "tats"
    assert given["tats.ent_coef"].number_value == result.config.tats.ent_coef
    assert set(COMPARED) <= set(events.Tags()["scalars"])
    assert "settings" not in json.loads((result.folder / "metrics.jsonl").read_text().splitlines()[0])
