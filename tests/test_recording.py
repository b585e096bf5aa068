"""Recorded play: frames of each step, whole videos within episodes, and folders that are written whole."""

import json
import sys
from itertools import islice

import gymnasium
import numpy as np
import pytest

from tats_gym.clips.datasets.listing import list_videos
from tats_gym.clips.games import recording
from tats_gym.clips.games.config import RecordConfig
from tats_gym.clips.games.play import Moment, open_env, play
from tats_gym.clips.games.recording import cut, make_recording
from tests.runs import load_command
from tests.video_files import decode, folder_bytes

SMALL = {"videos": 2, "held_out": 1, "frames": 4, "size": 32}


class Brightening(gymnasium.Env):
    """Episodes of `length` steps, whose picture is 10 brighter after every step, and 1 more after each action 1."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length=10, shape=(30, 46, 3), render_mode=None):
        self.length, self.render_mode = length, render_mode
        self.shape = tuple(shape)
        self.observation_space = gymnasium.spaces.Box(0, 255, self.shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.level = 0, int(self.np_random.integers(10))
        return self._picture(), {}

    def step(self, action):
        self.steps += 1
        self.level += 10 + int(action)
        return self._picture(), 0.0, self.steps == self.length, False, {}

    def _picture(self):
        return np.full(self.shape, self.level, np.uint8)


class Drawn(Brightening):
    """The same picture, drawn and not observed."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    def __init__(self, fails=None, mode=0, **arguments):
        super().__init__(**arguments)
        self.fails = fails
        if mode:
            raise RuntimeError("Invalid game mode requested")

    def render(self):
        if self.fails == "display":
            raise RuntimeError("no available video device")
        if self.fails == "package":
            raise gymnasium.error.DependencyNotInstalled("pygame is not installed")
        return self._picture()


def one(env, seed):
    """A policy that always acts by 1."""
    return lambda _: 1


@pytest.fixture(autouse=True, scope="module")
def _register():
    names = {"Observed-v0": Brightening, "Drawn-v0": Drawn}
    for name, entry in names.items():
        gymnasium.register(name, entry_point=entry)
    yield
    for name in names:
        del gymnasium.registry[name]


def moments(*lengths):
    """Episodes of so many moments, each of which shows its own number."""
    frames = np.arange(sum(lengths), dtype=np.uint8)
    begins = [i == 0 for length in lengths for i in range(length)]
    return [Moment(frame, None, first) for frame, first in zip(frames, begins, strict=True)]


def test_no_video_spans_a_reset():
    pieces = [[int(moment.frame) for moment in piece] for piece in cut(moments(5, 2, 7), 3, "X-v0")]
    assert pieces == [[0, 1, 2], [7, 8, 9], [10, 11, 12]]


def test_episodes_that_never_fill_a_video_are_an_error():
    short = moments(*[4, 6] * 25, 3)
    with pytest.raises(ValueError, match=r"--env X-v0: the longest of 50 episodes had 6 frames, but a video has 7"):
        list(cut(short, 7, "X-v0"))
    assert len(list(cut(short, 6, "X-v0"))) == 25


def test_a_frame_is_taken_after_every_action_and_every_reset():
    env = open_env("Drawn-v0", {"length": 5})
    seen = list(islice(play(env, one(env, 0), name="Drawn-v0", seed=3, skip=2), 6))
    first = int(np.random.Generator(np.random.PCG64(np.random.SeedSequence(3))).integers(10))
    assert [moment.begins for moment in seen] == [True, False, False, False, True, False]
    assert [int(moment.frame[0, 0, 0]) - first for moment in seen[:4]] == [0, 22, 44, 55]
    assert seen[0].ram is None


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3)])
def test_pixels_that_are_observed_are_frames_where_none_are_drawn(shape):
    env = open_env("Observed-v0", {"shape": shape})
    moment = next(play(env, one(env, 0), name="Observed-v0", seed=0, skip=1))
    assert moment.frame.shape == (20, 30, 3)
    assert len(np.unique(moment.frame)) == 1


@pytest.mark.parametrize(
    ("env_id", "arguments", "message"),
    [
        ("Observed-v0", {"shape": (4,)}, r"--env Observed-v0 must draw .*; the observation is uint8 of shape \(4,\)"),
        (
            "Drawn-v0",
            {"shape": (20, 30, 4)},
            r"--env Drawn-v0 must draw .*; render\(\) is uint8 of shape \(20, 30, 4\)",
        ),
        (
            "Drawn-v0",
            {"fails": "display"},
            r"cannot draw its frames \(no available video device\); .*SDL_VIDEODRIVER=dummy",
        ),
        ("Drawn-v0", {"fails": "package"}, "--env Drawn-v0 cannot draw its frames: pygame is not installed$"),
        ("Drawn-v0", {"mode": 7}, "--env Drawn-v0: Invalid game mode requested$"),
        ("Drawn-v0", {"speed": 2}, "--env Drawn-v0: .*unexpected keyword argument 'speed'"),
        ("Drown-v0", {}, "--env Drown-v0: .*`Drown` doesn't exist. Did you mean: `Drawn`"),
        ("Drawn-v7", {}, "--env Drawn-v7: .*version `v7`"),
        ("ALE/Pomg-v5", {}, r"--env ALE/Pomg-v5: .*Did you mean: `Pong`\?$"),
        ("Billiards-v5", {}, "--env Billiards-v5: .* The id of an Atari game is of the form ALE/Pong-v5"),
        ("ale/Tennis-v5", {}, "--env ale/Tennis-v5: .* The id of an Atari game is of the form ALE/Pong-v5"),
        ("no_module:Drawn-v0", {}, "--env no_module:Drawn-v0: there is no module 'no_module' to import: No module"),
    ],
)
def test_an_environment_that_cannot_be_made_or_drawn_is_named(tmp_path, env_id, arguments, message):
    config = RecordConfig(env=(env_id,), make=(json.dumps(arguments),), **SMALL)
    with pytest.raises(ValueError, match=message):
        make_recording(tmp_path / "made", config)
    assert list(tmp_path.iterdir()) == []


def test_all_environments_are_tried_before_the_first_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "encode", None)
    gymnasium.register("Dark-v0", entry_point=Drawn, kwargs={"fails": "display"})
    try:
        with pytest.raises(ValueError, match="--env Dark-v0 cannot draw its frames"):
            make_recording(tmp_path / "made", RecordConfig(env=("Drawn-v0", "Dark-v0"), **{**SMALL, "videos": 8}))
    finally:
        del gymnasium.registry["Dark-v0"]


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (("frameskip=4", "mode=hard", "repeat_action_probability=0.25"),
         {"frameskip": 4, "mode": "hard", "repeat_action_probability": 0.25}),
        (('{"length": 3, "shape": [2, 4]}', "render_mode=null"), {"length": 3, "shape": [2, 4], "render_mode": None}),
        (("name=a=b",), {"name": "a=b"}),
    ],
)  # fmt: skip
def test_arguments_of_make_are_words_or_json(make, arguments):
    assert RecordConfig(env=("X-v0",), make=make).arguments() == arguments


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": ()}, "--env must name different environments"),
        ({"env": ("A-v0", "module:A-v0")}, "--env must name different environments"),
        ({"size": 33}, "size must be even, as the encoder requires, and at least 16, got 33"),
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"seed": -1}, "seed must not be negative, got -1"),
        ({"policy": "greedy"}, "policy must be random or module:function, got 'greedy'"),
        ({"make": ("fast",)}, "make takes name=value, or a JSON object, got 'fast'"),
        ({"make": ("[1]",)}, r"make takes name=value, or a JSON object, got '\[1\]'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RecordConfig(**{"env": ("Drawn-v0",), **settings})


@pytest.mark.parametrize("policy", ["no_module:act", "tests.test_recording:act"])
def test_a_policy_that_cannot_be_imported_is_named(tmp_path, policy):
    with pytest.raises(ValueError, match=f"--policy {policy}: there is no 'act' to import"):
        make_recording(tmp_path / "made", RecordConfig(env=("Drawn-v0",), policy=policy, **SMALL))


def test_environments_and_policies_are_found_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "play_of_mine.py").write_text(
        "import gymnasium\n"
        "from tests.test_recording import Drawn, one\n"
        "gymnasium.register('Mine-v0', entry_point=Drawn)\n"
    )
    made = tmp_path / "made"
    try:
        make_recording(made, RecordConfig(env=("play_of_mine:Mine-v0",), policy="play_of_mine:one", **SMALL))
    finally:
        gymnasium.registry.pop("Mine-v0", None)
    assert [video.path.stem for video in list_videos("list", made, "validation").videos] == ["Mine-v0-validation-00000"]


def test_a_recording_is_read_as_a_list_and_its_classes_by_name(tmp_path):
    config = RecordConfig(env=("Drawn-v0", "Observed-v0"), policy="tests.test_recording:one", **SMALL)
    make_recording(tmp_path / "made", config)
    train, held_out = (list_videos("list", tmp_path / "made", split) for split in ("train", "validation"))
    assert [(video.path.stem, video.label) for video in train.videos] == [
        ("Drawn-v0-train-00000", 0), ("Drawn-v0-train-00001", 0),
        ("Observed-v0-train-00000", 1), ("Observed-v0-train-00001", 1),
    ]  # fmt: skip
    assert [video.label for video in held_out.videos] == [0, 1]
    named = list_videos("ssv2", tmp_path / "made", "train")
    assert named.classes == ("Drawn-v0", "Observed-v0")
    assert [video.path for video in named.videos] == [video.path for video in train.videos]
    frames = decode(train.videos[0].path)
    assert frames.shape == (4, 32, 32, 3)
    steps = np.diff(frames.mean((1, 2, 3)))
    np.testing.assert_allclose(steps, 11, atol=1)  # 10, and 1 for the action
    assert not list((tmp_path / "made").rglob("*.npy"))


def test_a_second_call_plays_nothing_and_other_settings_are_refused(tmp_path, monkeypatch):
    config = RecordConfig(env=("Drawn-v0",), **SMALL)
    make_recording(tmp_path / "made", config)
    before = folder_bytes(tmp_path / "made")
    monkeypatch.setattr(recording, "open_env", None)
    make_recording(tmp_path / "made", config)
    with pytest.raises(
        FileExistsError, match=r"should hold the recording \{'seed': 7\}, but holds \{'seed': 0\}; choose"
    ):
        make_recording(tmp_path / "made", RecordConfig(env=("Drawn-v0",), seed=7, **SMALL))
    assert folder_bytes(tmp_path / "made") == before
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileExistsError, match=r"has no generator\.json"):
        make_recording(tmp_path, config)


def test_an_interrupted_recording_leaves_nothing(tmp_path, monkeypatch):
    encode = recording.encode

    def encode_one(path, frames, **settings):
        if list(path.parent.glob("*.webm")):
            raise KeyboardInterrupt
        encode(path, frames, **settings)

    monkeypatch.setattr(recording, "encode", encode_one)
    with pytest.raises(KeyboardInterrupt):
        make_recording(tmp_path / "made", RecordConfig(env=("Drawn-v0",), **SMALL))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(name="main")
def _main():
    return load_command("record").main


def test_the_command_records_and_answers_a_wrong_id_in_a_line(main, capsys, tmp_path):
    small = ["--videos", "2", "--held-out", "1", "--frames", "4", "--size", "32", "--out", str(tmp_path / "made")]
    assert main(["--env", "Drawn-v0", "--make", "length=6", *small]) == 0
    assert capsys.readouterr().out == f"2 training and 1 validation videos of 4 frames in {tmp_path / 'made'}\n"
    assert main(["--env", "Drown-v0", *small[:-1], str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err.startswith("error: --env Drown-v0: ")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
