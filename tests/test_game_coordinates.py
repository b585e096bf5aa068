"""Coordinates in games, decoded from features: they belong to the frames of the clips, and a study reports them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tats_gym.agents.experiments.studies import game_coordinates
from tats_gym.agents.experiments.studies.game_coordinates import Samples, decode, games_of, samples_of
from tats_gym.agents.experiments.studies.named import STUDIES, on_folder
from tats_gym.agents.experiments.studies.study import Study
from tats_gym.agents.experiments.trials.trial import Trial, run_trial
from tats_gym.agents.experiments.trials.variations import with_changes
from tats_gym.clips import ClipConfig, ClipStream
from tats_gym.clips.games.atari import atari_config, make_atari_data
from tats_gym.encoders.mae import MAESource, build_mae
from tats_gym.tokens import TokenGrid
from tests.runs import load_command, tiny_config

PADDLE = (92, 186, 92)
"""Colour of Pong's right paddle on the emulator's screen."""


@pytest.fixture(scope="module", name="pong")
def _pong(tmp_path_factory):
    return make_atari_data(tmp_path_factory.mktemp("games") / "pong", atari_config(("Pong",), videos=4, held_out=2))


def _stream(root, split, size=32, frames=8):
    return ClipStream(ClipConfig(data="atari", root=str(root), split=split, stride=1), frames=frames, size=size, seed=0)


class _Paddle(nn.Module):
    """Writes the right paddle's row into all tokens of a tubelet, as its pixels show it in one of the two frames."""

    def __init__(self, frame):
        super().__init__()
        self.grid, self.frame = TokenGrid(frames=8, size=96, visible=4), frame
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, clips):
        right = clips.permute(0, 2, 3, 4, 1)[:, :, :, 80:].int()  # (B, T, H, 16, C)
        green = right - torch.tensor(PADDLE)
        near = (green.abs().amax(-1) < 40).flatten(3).float().mean(3)[:, self.frame :: 2]  # (B, t, H)
        near = near[:, :, 17:88]  # the field, without the score
        rows = (near * torch.arange(near.shape[2])).sum(2) / near.sum(2).clamp(min=1e-6)  # (B, t)
        tokens = rows[:, :, None, None].expand(-1, -1, 36, 2) * torch.tensor([1.0, -1.0])
        return tokens.flatten(1, 2)


def test_coordinates_are_those_of_each_tubelets_last_frame(pong):
    scores = []
    for frame in (1, 0):
        train, test = (
            samples_of(_Paddle(frame), _stream(pong, part, size=96), "Pong", "fp32") for part in ("train", "validation")
        )
        assert train.tokens.shape == (4 * 4, 36, 2)
        assert train.clips.tolist() == [id_ for id_ in range(4) for _ in range(4)]
        scores.append(decode(train, test, seed=0)["player_y"]["ridge"])
    assert scores[0] > 0.99
    assert scores[1] < scores[0]


def test_samples_hold_the_memory_of_their_frames(pong):
    samples = samples_of(_Paddle(1), _stream(pong, "train", size=96), "Pong", "fp32")
    stream = _stream(pong, "train")
    assert games_of(stream) == ["Pong"]
    whole = np.load(stream.videos.videos[2].path.with_suffix(".npy"))  # 24 frames, of which the middle 8 are the clip
    last = [8 + 1, 8 + 3, 8 + 5, 8 + 7]
    assert samples.names == ("player_y", "enemy_y", "ball_x", "ball_y")
    np.testing.assert_array_equal(samples.coordinates[8:12], whole[last][:, [51, 50, 49, 54]])


def test_coordinates_that_do_not_vary_are_left_out():
    generator = torch.Generator().manual_seed(0)

    def samples(constant):
        coordinates = torch.randn(40, 3, generator=generator)
        coordinates[:, constant] = 3
        tokens = torch.cat((coordinates, torch.randn(40, 5, generator=generator)), dim=1)[:, None].expand(-1, 4, -1)
        return Samples(tokens, coordinates, torch.arange(40) // 4, ("here", "there", "ball_x"))

    found = decode(samples(0), samples(1), seed=0)
    assert list(found) == ["ball_x"]
    assert found["ball_x"]["ridge"] > 0.99
    assert decode(samples([0, 2]), samples(1), seed=0) == {}


def test_means_count_a_decoder_that_is_worse_than_the_mean_as_zero():
    scores = {
        "Pong player_y": {"ridge": 0.5, "attentive": 0.9},
        "Pong ball_x": {"ridge": -3.0, "attentive": 0.3},
        "Riverraid missile_x": {"ridge": 0.4, "attentive": 0.0},
    }
    found = game_coordinates._means(scores)
    assert found == pytest.approx(
        {"r2_ridge": 0.3, "r2_ridge_small": 0.2, "r2_attentive": 0.4, "r2_attentive_small": 0.15}
    )
    assert set(game_coordinates._means({"Qbert player_x": {"ridge": 1.0, "attentive": 1.0}})) == {
        "r2_ridge", "r2_attentive"
    }  # fmt: skip


@pytest.fixture(name="study")
def _study(pong, tmp_path):
    config = tiny_config(pong, tmp_path)
    clips = replace(config.clips, data="atari")
    arms = {name: STUDIES["games-05"].arms[name] for name in ("random", "expected error", "untrained")}
    arms["untrained"] = {**arms["untrained"], "epoch_masks": 4}
    return Study(
        about="Nothing.",
        start=None,
        base=replace(config, env="TatsMask-atari-v0", clips=clips),
        arms=arms,
        control="random",
        measures=("decoded_positions",),
    )


def test_a_study_decodes_the_encoders_of_its_arms_once(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tats_gym.agents.experiments.studies.named.STUDIES", {"games-05": study})
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    words = ["games-05", "--seeds", "2", "--jobs", "1", *folders]
    assert load_command("study").main(words) == 0
    table = capsys.readouterr().out.split("decoded_positions\n")[1].splitlines()
    assert [line.split("  ")[0] for line in table[:4]] == ["arm", "random", "expected error", "untrained"]
    assert table[0].count("detectable") == 4
    path = tmp_path / "results" / "study_games-05_atari.json"
    record = json.loads(path.read_text())
    assert record["command"] == "tats-gym study games-05 --seeds 2"
    assert (record["data"], record["clips"]) == ("atari", {"arm": 32})
    found, rows = record["decoded_positions"], record["decoded_positions_rows"]
    assert [(row["arm"], row["seed"]) for row in rows] == [(arm, seed) for seed in (0, 1) for arm in study.arms]
    assert set(rows[0]["by_coordinate"]) <= {f"Pong {name}" for name in ("player_y", "enemy_y", "ball_x", "ball_y")}
    for i, row in enumerate(rows):
        ridge = [max(0, each["ridge"]) for each in row["by_coordinate"].values()]
        assert row["r2_ridge"] == pytest.approx(np.mean(ridge), abs=1e-4)
        rise = row["r2_attentive"] - rows[i // 3 * 3]["r2_attentive"]
        if row["arm"] != "random":
            assert found[row["arm"]]["r2_attentive_rise"]["values"][row["seed"]] == pytest.approx(rise, abs=1e-4)
    assert "r2_ridge_rise" not in found["random"]
    assert len({row["r2_ridge"] for row in rows}) > 3

    monkeypatch.setattr(game_coordinates, "_decoded", None)  # a second call finds the results
    assert load_command("study").main(words) == 0
    assert json.loads(path.read_text())["decoded_positions_rows"] == rows


def test_an_untrained_arm_keeps_the_weights_from_which_the_others_start(study, tmp_path, monkeypatch):
    weights = []

    def noted(encoder, config):
        weights.append({name: value.clone() for name, value in encoder.state_dict().items()})
        return {"Pong ball_x": {"ridge": 0.0, "attentive": 0.0}}

    monkeypatch.setattr(game_coordinates, "_decoded", noted)
    trial = Trial(with_changes(study.base, study.arms["untrained"]), tmp_path / "trial")
    row = run_trial(trial)
    assert row["mae_steps"] == 0
    (run,) = trial.folder.glob("*/")
    game_coordinates.decoded_coordinates(replace(trial.config, init_mae=str(run)))
    fresh = build_mae(MAESource(study.base.mae), study.base.grid, seed=study.base.seed).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in weights[0].items())


def test_the_studies_of_games_show_a_twentieth_and_a_tenth_and_take_a_recording(pong):
    for name, share in (("games-05", 0.05), ("games-10", 0.10)):
        base = STUDIES[name].base
        assert base.grid.num_visible / base.grid.num_tokens == pytest.approx(share, rel=0.07)
        assert base.grid.num_visible % base.grid.shape[0] == 0
        assert base.mae_optim.epochs * base.steps_per_epoch(0) * base.num_envs == 22_400
    moved = on_folder(STUDIES["games-05"], str(pong)).base
    assert (moved.env, moved.clips.data, moved.clips.root) == ("TatsMask-atari-v0", "atari", str(pong))
