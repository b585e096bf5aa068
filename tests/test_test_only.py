"""Published and own fine-tuned classifiers, tested without training."""

import json
import re
from dataclasses import replace

import pytest
import torch

from tats_gym.clips import ClipStream
from tats_gym.clips.demo.files import make_demo_data
from tats_gym.clips.demo.scenes import DEMO_CLASSES
from tats_gym.encoders.find import EncoderSource
from tats_gym.finetune.config import finetune_preset
from tats_gym.finetune.testing import run_test
from tats_gym.runs.checkpoint import latest_checkpoint, load_checkpoint
from tats_gym.train.distributed import Ranks
from tests.encoders import normalised
from tests.runs import load_command

ALONE = Ranks(0, 1, torch.device("cpu"))
ORDER = torch.randperm(12, generator=torch.Generator().manual_seed(0)).tolist()
SHUFFLED = [re.sub(r"[\[\]]", "", DEMO_CLASSES[number]) for number in ORDER]  # labels.json has no brackets


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp("data") / "demo", train=12, validation=24)


@pytest.fixture(scope="module", name="theirs")
def _theirs(tmp_path_factory):
    """A classifier of transformers for the demo's classes in another order, and its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(
        image_size=32, num_frames=4, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=256,
        layer_norm_eps=1e-6, use_mean_pooling=True, id2label=dict(enumerate(SHUFFLED)),
    )  # fmt: skip
    model = transformers.VideoMAEForVideoClassification(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("published") / "hf"
    model.save_pretrained(folder)
    return model, folder


def _config(root, encoder, out, **changes):
    config = finetune_preset("TatsMask-demo-v0", str(encoder))
    clips = replace(config.clips, root=str(root))
    small = {"test_only": True, "out": str(out), "device": "cpu", "temporal_views": 2, "spatial_views": 3}
    return replace(config, clips=clips, **{**small, **changes})


def test_a_published_classifier_is_tested_as_transformers_computes_it(root, theirs, tmp_path):
    model, folder = theirs
    result = run_test(_config(root, folder, tmp_path), ALONE)
    published = replace(_config(root, folder, tmp_path).clips.held_out, published_views=True)
    held_out = ClipStream(published, frames=4, size=32, seed=0)
    expected = torch.zeros(12, 12, dtype=torch.int64)
    for id_, video in enumerate(held_out.videos.videos):
        pixels = held_out.views([id_], temporal=2, spatial=3).pixels
        with torch.no_grad():
            probabilities = model(normalised(pixels).transpose(1, 2)).logits.softmax(1).mean(0)
        name = model.config.id2label[int(probabilities.argmax())]
        expected[video.label, held_out.videos.classes.index(name)] += 1
    assert result.accuracy.confusion.tolist() == expected.tolist()
    assert (expected.sum(0) > 0).sum() > 1  # or the order of the classes would not show
    record = json.loads((result.folder / "test.json").read_text())
    assert (record["step"], record["temporal_views"], record["spatial_views"]) == (None, 2, 3)
    assert record["confusion"] == expected.tolist()
    assert (result.folder / "pictures" / "confusion.png").is_file()
    assert json.loads((result.folder / "config.json").read_text())["config"]["test_only"] is True


def test_the_command_tests_its_own_run_to_the_same_result(root, tmp_path, capsys, caplog):
    main = load_command("finetune").main
    small = ["--root", str(root), "--frames", "4", "--size", "32", "--optim.epochs", "1", "--optim.warmup-epochs", "0",
             "--device", "cpu", "--quiet", "--batch-size", "4"]  # fmt: skip
    assert main(["--encoder", "tiny", "--folder", str(tmp_path / "run"), *small]) == 0
    capsys.readouterr()
    test = ["--encoder", str(tmp_path / "run"), "--test-only", "--root", str(root), "--device", "cpu"]
    assert main([*test, "--folder", str(tmp_path / "test")]) == 0
    assert "test, 1 x 1 views: top-1" in capsys.readouterr().out
    records = [json.loads((tmp_path / name / "test.json").read_text()) for name in ("run", "test")]
    assert records[0] | {"step": None} == records[1]
    assert not (tmp_path / "test" / "checkpoints").exists()
    assert "antialias" not in caplog.text
    assert main([*test, "--antialias", "--folder", str(tmp_path / "other")]) == 0
    assert "was trained with --no-antialias, and is tested without" in caplog.text
    head = EncoderSource.find(tmp_path / "run").head
    assert head.classes == tuple(row["class"] for row in records[0]["by_class"])
    assert (head.config.stride, head.config.temporal_views, head.config.published_views) == (2, 1, False)
    path = latest_checkpoint(tmp_path / "run")
    state = load_checkpoint(path)
    del state["config"]  # as before checkpoints held their settings, which then are those of config.json
    torch.save(state, path)
    assert EncoderSource.find(tmp_path / "run").head.config == head.config
    for arguments, message in (
        ([*test, "--folder", str(tmp_path / "run")], "holds a training, and a test would write over its record"),
        ([*test[:1], "demo", *test[2:]], "there is no classifier in"),
        (["--resume", str(tmp_path / "run"), "--test-only"], "--test-only tests the classifier of --encoder"),
    ):
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


def test_another_number_of_classes_is_refused(root, theirs, tmp_path):
    _, folder = theirs
    lines = [f"{video} {number % 3}" for number, video in enumerate(sorted(root.rglob("*.webm")))]
    (tmp_path / "val.csv").write_text("\n".join(lines) + "\n")
    config = finetune_preset("TatsMask-list-v0", str(folder))
    config = replace(config, clips=replace(config.clips, root=str(tmp_path)), test_only=True, out=str(tmp_path))
    with pytest.raises(ValueError, match=rf"classifier's 12 classes \('{SHUFFLED[0]}', ...\), got 3 \('0', ...\)"):
        run_test(config, ALONE)
    (tmp_path / "val.csv").write_text("\n".join(line.rpartition(" ")[0] for line in lines) + "\n")
    with pytest.raises(
        ValueError, match="every clip needs a class, but 36 of 36 clips of the held-out split have none"
    ):
        run_test(config, ALONE)


def test_new_weights_cannot_be_tested(root, tmp_path):
    for other in ({"scratch": True}, {"test_checkpoint": "best"}):
        with pytest.raises(ValueError, match="leave scratch and test_checkpoint out"):
            _config(root, "tiny", tmp_path, **other)
