"""The curves in a run's files."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from tats_gym.runs.logger import run_logger


def _log(folder, begun_at, steps):
    logger = run_logger(folder, begun_at)
    for step in steps:
        logger.record("mae/loss", float(begun_at))
        logger.dump(step)
    logger.close()


def _points(folder):
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars("mae/loss")]


def test_a_run_that_goes_on_takes_back_the_rows_after_its_checkpoint(tmp_path, monkeypatch):
    # The numbers that end the names of the files, 9 and 11, come in another order as text.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(9))
    _log(tmp_path, 0, [0, 4, 8])
    _log(tmp_path, 4, [8, 12])
    assert _points(tmp_path) == [(0, 0.0), (4, 0.0), (8, 4.0), (12, 4.0)]


def test_a_run_that_begins_anew_takes_back_everything(tmp_path):
    _log(tmp_path, 8, [0, 4])
    _log(tmp_path, 0, [0])
    assert _points(tmp_path) == [(0, 0.0)]
