"""Any run's agent can be taken out of it and drawn on any video, beside others."""

import shutil
from dataclasses import replace

import pytest
import torch

from tats_gym.agents.trained import pictures
from tats_gym.agents.trained.load_run import SavedRun
from tats_gym.agents.training.pretraining import Pretraining
from tats_gym.figures import files, masks
from tats_gym.runs.checkpoint import CheckpointError
from tests.layouts import moving_frames
from tests.runs import load_command, tiny_config
from tests.video_files import noise_frames, write_video


@pytest.fixture(scope="module", name="script")
def _script():
    return load_command("visualize")


@pytest.fixture(scope="module", name="runs")
def _runs(clips_root, tmp_path_factory):
    """A run of each kind of agent: ours, one that masks pixels, and a stock one that scores tokens."""
    out = tmp_path_factory.mktemp("runs")
    found = {}
    for seed, agent in enumerate(("tats", "motion", "sac", "tube", "ppo")):
        config = tiny_config(clips_root, out, agent=agent, num_envs=2, seed=seed)
        config = replace(config, grid=replace(config.grid, visible=4))
        run = Pretraining(config)
        run.save()
        found[agent] = run.folder
        run.close()
    return found


@pytest.fixture(scope="module", name="videos")
def _videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    write_video(folder / "noise one.mp4", noise_frames(12, 40, 56))
    write_video(folder / "moving.mp4", moving_frames(0))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_every_form_is_drawn_of_any_video_with_every_mask_ratio(script, runs, videos, tmp_path, capsys, caplog):
    arguments = [str(runs["tats"]), "--compare", str(runs["motion"]), "--videos", str(videos / "noise one.mp4"),
                 str(videos / "broken.mp4"), "--mask-ratio", "0.5", "0.75", "--out", str(tmp_path)]  # fmt: skip
    assert script.main(arguments) == 0
    printed = capsys.readouterr()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"00-noise one-visible{k}.{form}" for k in (2, 4) for form in ("gif", "mp4", "png")
    ]
    assert "left out: " in caplog.text
    assert "broken.mp4" in caplog.text
    assert "2 of 8 tokens visible: 00-noise one; mean error" in printed.out
    assert " under untrained tats's mask, " in printed.out
    assert " under motion's mask" in printed.out


def _drawn(runs, videos, **settings):
    """The script's input for a drawing of two videos: the runs, the clips' pixels, and each agent's masks."""
    files = (videos / "noise one.mp4", videos / "moving.mp4")
    config = pictures.PictureConfig(run=runs[0], compare=tuple(runs[1:]), videos=files, **settings)
    saved = [SavedRun.read(path) for path in runs]
    with pictures.clips_to_draw(config, saved[0]) as clips:
        _, pixels = pictures.read_clips(config, clips, saved[0].config.grid)
        return saved, pixels, pictures.mask_clips(config, saved, clips, pixels, saved[0].config.grid)


def test_two_runs_of_one_agent_go_by_the_names_of_their_folders(script, runs, videos, tmp_path, capsys):
    shutil.copytree(runs["tats"], tmp_path / "colder")
    arguments = [runs["tats"], "--compare", tmp_path / "colder", "--videos", videos / "moving.mp4"]
    assert script.main([*map(str, arguments), "--forms", "png", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert f"under untrained {runs['tats'].name}'s mask, " in printed
    assert "under untrained colder's mask" in printed


def test_all_errors_are_of_the_first_runs_mae_and_each_agent_looks_through_its_own(runs, videos):
    saved, pixels, seen = _drawn([runs["tats"], runs["ppo"]], videos)
    first, second = (run.agent(run.config.clips) for run in saved)
    ids = second.mask(pixels)[0]
    assert [each.name for each in seen] == ["untrained tats", "untrained ppo"]
    for clip in (0, 1):
        wanted = first.mae(pixels[clip : clip + 1], ids[clip : clip + 1]).errors.mean()
        other = second.mae(pixels[clip : clip + 1], ids[clip : clip + 1]).errors.mean()
        assert seen[1].errors(clip).nanmean().item() == pytest.approx(wanted.item())
        assert wanted.item() != pytest.approx(other.item())


def test_the_seed_draws_the_mask_and_a_clip_has_the_same_one_among_any_others(runs, videos):
    saved, pixels, seen = _drawn([runs["tats"]], videos, seed=3)
    agent = saved[0].agent(saved[0].config.clips)
    shown = (~seen[0].reconstruction.mask).nonzero()[:, 1].reshape(2, -1)
    assert torch.equal(agent.mask(pixels[1:], seed=3)[0].sort().values, shown[1:])
    masks = {tuple(agent.mask(pixels[:1], seed=seed)[0].sort().values[0].tolist()) for seed in range(8)}
    assert len(masks) > 1


def test_a_video_is_a_clip_of_its_own_with_the_runs_stride_or_another(runs, videos):
    run = SavedRun.read(runs["tats"])
    clips = replace(run.config.clips, data="ucf101", fold=2, subset=0.5)
    odd = replace(run, config=replace(run.config, env="TatsMask-ucf101-v0", clips=clips))
    video = (videos / "noise one.mp4",)
    pixels = {}
    for stride in (None, 1, 3):
        config = pictures.PictureConfig(run=runs["tats"], videos=video, stride=stride)
        with pictures.clips_to_draw(config, odd) as clips:
            assert clips.stride == stride or stride is None
            pixels[stride] = pictures.read_clips(config, clips, run.config.grid)[1]
    assert torch.equal(pixels[None], pixels[1])
    assert not torch.equal(pixels[1], pixels[3])


def test_colours_mean_the_same_at_every_ratio(script, runs, tmp_path, monkeypatch):
    used, batches = [], []

    def figure(grid, pixels, seen, *, clip, scales, title, dpi):
        used.append(scales)
        batches.append(seen)
        return torch.zeros(2, 2, 3, dtype=torch.uint8).numpy()

    monkeypatch.setattr(files, "mask_figure", figure)
    monkeypatch.setattr(masks, "_rounded_up", float)  # which makes near scales one
    arguments = [str(runs["tats"]), "--mask-ratio", "0.5", "0.85", "--clips", "1", "--forms", "png"]
    assert script.main([*arguments, "--out", str(tmp_path)]) == 0
    together = masks.Scales.of([each for seen in batches for each in seen])
    assert used == [together, together]
    assert masks.Scales.of(batches[0]) != masks.Scales.of(batches[1])


@pytest.mark.parametrize("agent", ["ppo", "motion"])
def test_any_agent_is_taken_out_of_its_run(script, runs, tmp_path, agent):
    assert script.main([str(runs[agent]), "--clips", "1", "--forms", "png", "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.iterdir())) == 1


def test_without_videos_held_out_clips_of_the_run_are_drawn(script, runs, tmp_path):
    checkpoint = next((runs["sac"] / "checkpoints").iterdir())
    arguments = [
        str(checkpoint),
        "--compare",
        str(runs["sac"]),
        "--clips",
        "1",
        "--forms",
        "png",
        "--out",
        str(tmp_path),
    ]
    assert script.main(arguments) == 0
    (picture,) = tmp_path.iterdir()
    assert picture.name.endswith("-visible4.png")
    assert picture.stat().st_size > 5000


def test_an_agent_out_of_its_run_masks_as_it_did_in_it(clips_root, tmp_path):
    run = Pretraining(tiny_config(clips_root, tmp_path, num_envs=2))
    torch.nn.init.normal_(run.agent.policy.actor_head.weight, std=5)
    run.save()
    saved = SavedRun.read(run.folder)
    pixels = run.vector_env.clip_buffer.stream.centre([0, 1]).pixels
    agent = saved.agent(run.config.clips)
    before = torch.random.get_rng_state()
    ids, probabilities = agent.mask(pixels, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(ids, agent.mask(pixels, seed=3)[0])
    with torch.no_grad():
        wanted = run.agent.policy.get_distribution(run.mae.embed(pixels)).distribution
        error = run.mae(pixels, ids).errors
    torch.testing.assert_close(probabilities, wanted.token_log_prob.exp())
    torch.testing.assert_close(agent.reconstruct(pixels, ids, "tats").reconstruction.errors, error)
    assert saved.agent(run.config.clips, num_visible=5).mask(pixels)[0].shape == (2, 5)
    run.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--compare", "{tats}/nothing"], "no checkpoint at"),
        (["--videos", "gone.mp4"], "there is no video at gone.mp4"),
        (["--videos", "{broken}"], "none of the videos could be read"),
        (["--mask-ratio", "0.99"], "at least one token must be visible"),
        (["--compare", "{tube}", "--mask-ratio", "0.625"], "visible must be a multiple of 2, got 3"),
        (["--mask-ratio", "0.51", "0.6"], "each --mask-ratio must show another number of tokens, got [3, 3] of 8"),
    ],
)
def test_figures_that_cannot_be_drawn_are_named(script, runs, videos, tmp_path, capsys, change, message):
    change = [each.format(**runs, broken=videos / "broken.mp4") for each in change]
    assert script.main([str(runs["tats"]), *change, "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clips": 0}, "clips must be at least 1, got 0"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"frames_per_s": 0.0}, r"frames_per_s must lie in \(0, 100\], got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        pictures.PictureConfig(run="a run", **settings)


def test_runs_of_other_tokens_and_folders_without_a_run_are_refused(script, runs, clips_root, tmp_path, capsys):
    config = tiny_config(clips_root, tmp_path)
    run = Pretraining(replace(config, grid=replace(config.grid, frames=8)))
    run.save()
    run.close()
    assert script.main([str(runs["tats"]), "--compare", str(run.folder), "--out", str(tmp_path / "out")]) == 1
    assert "frames=8" in capsys.readouterr().err
    torch.save({"mae": {}}, tmp_path / "some.pt")
    with pytest.raises(CheckpointError, match="only a run holds an agent"):
        SavedRun.read(tmp_path / "some.pt")
