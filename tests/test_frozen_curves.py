"""The reference curves of the environment without video."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tats_gym.clips.demo.files import make_demo_data
from tats_gym.files.text import parse_json

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "examples" / "frozen_curves.py"


@pytest.fixture(name="curves", scope="module")
def _curves():
    return runpy.run_path(str(SCRIPT))


@pytest.fixture(name="root", scope="module")
def _root(tmp_path_factory):
    return str(make_demo_data(tmp_path_factory.mktemp("demo") / "set", train=12, validation=6))


def test_every_agent_has_a_curve_for_each_seed_and_they_are_drawn(curves, root, tmp_path, capsys):
    curves["main"](
        curves["Settings"](masks=16, num_envs=8, measurements=2, seeds=2, root=root, results=tmp_path / "new")
    )
    record = parse_json((tmp_path / "new" / "frozen_curves.json").read_bytes(), "the record")
    assert list(record["curves"]) == list(curves["ARMS"])
    for runs in record["curves"].values():
        assert [[masks for masks, _ in run] for run in runs] == [[0, 8, 16]] * 2
        assert np.isfinite([gain for run in runs for _, gain in run]).all()
    assert "random" in capsys.readouterr().out
    assert np.asarray(Image.open(tmp_path / "new" / "frozen_curves.png")).std() > 10


def test_a_measurement_leaves_the_training_as_it_is(curves, root):
    often, once = (curves["Settings"](masks=16, num_envs=8, measurements=number, root=root) for number in (2, 1))
    held_out = curves["held_out_clips"](once)
    assert held_out.num_envs == 6
    for arm in ("group, credit of masks", "random"):
        measured = [dict(curves["run"](arm, 0, settings, held_out)) for settings in (often, once)]
        assert [sorted(each) for each in measured] == [[0, 8, 16], [0, 16]]
        assert measured[0][16] == measured[1][16]
    held_out.close()
