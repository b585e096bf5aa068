"""Every block of code in README and documentation, run from top to bottom of its page; the site; errors in docstrings.

Commands run in this process, with their datasets written on the spot and sizes that take seconds. Those that take hours
stop where their first run would begin.
"""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from tats_gym.agents.experiments.comparison import compare
from tats_gym.agents.experiments.finetune import study as finetune_study
from tats_gym.agents.experiments.probe import study as probe_study
from tats_gym.agents.experiments.studies import study
from tats_gym.agents.experiments.sweeps import sweep
from tats_gym.agents.experiments.trials import plan
from tats_gym.clips.games.atari import atari_config, make_atari_data
from tats_gym.datasets import DATASETS
from tests.layouts import moving_frames, write_layout
from tests.video_files import write_video

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
"""How a block begins that is a file of the reader's."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNS = {
    "ssv2": ("random", "adamae"),
    "ucf101": ("tats", "random"),
    "hmdb51": ("tats",),
    "demo": ("group",),
}
"""Runs that pages speak of as if they were there, beside ssv2's of tats."""
CLIP = "--frames 4 --size 64"
MAE = (
    "--mae.embed-dim 64 --mae.depth 1 --mae.num-heads 1 "
    "--mae.decoder-embed-dim 32 --mae.decoder-depth 1 --mae.decoder-num-heads 1"
)
SMALLER = {
    "train": f"{CLIP} {MAE} --stride 1 --visible 2 --num-envs 4 --epoch-masks 8 --eval-clips 2 --eval-masks 1 "
    "--num-workers 0 --mae-optim.epochs 2 --mae-optim.warmup-epochs 1 --tats.warmup-epochs 1 --device cpu --quiet",
    "finetune": f"{CLIP} --batch-size 2 --test-batch-size 2 --optim.epochs 1 --optim.warmup-epochs 0 "
    "--num-workers 0 --device cpu --quiet",
    "predict": "--device cpu",
    "probe": f"{CLIP} --stride 1 --knn.k 1 --sgd.epochs 2 --sgd.warmup-epochs 1 "
    "--attentive.epochs 1 --device cpu --quiet",
    "sweep": f"--base.eval-clips 2 --num-workers 0 {MAE.replace('--mae', '--base.mae')} --probing.config.knn.k 1 "
    "--probing.config.logistic.strengths 0.01",
    "compare": f"{CLIP} {MAE.replace('--mae', '--base.mae')} --probing.config.knn.k 1",
    "prepare": "--num-workers 0",
    "record": "--videos 4 --held-out 2 --frames 16 --size 64",
    "visualize": "--device cpu",
    "frozen_curves.py": "--masks 8 --num-envs 4 --measurements 1 --seeds 1",
    "ppo_tensors.py": "--updates 1 --num-envs 4 --device cpu",
}
"""Options added to a command, or to a program of the pages."""
LONG = ("bench", "compare", "study", "sweep")


class BegunError(BaseException):
    """The first run of a command that takes hours would begin."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The page's blocks: language and text."""
    return BLOCK.findall(page.read_text())


def test_every_block_is_found_and_its_language_is_one_that_is_run():
    for page in PAGES:
        found = blocks(page)
        assert 2 * len(found) == len(re.findall(r"^```", page.read_text(), re.MULTILINE)), page
        assert {language for language, _ in found} <= {"", "bash", "bibtex", "python", "toml", "yaml"}, page
        for language, text in found:
            assert language or "──" in text, f"{page}: only a drawing may stand without a language"


@pytest.fixture(name="place", scope="module")
def _place(tmp_path_factory, demo_root) -> Path:
    """A folder with all that the pages take for granted."""
    place = tmp_path_factory.mktemp("place")
    for data in ("ssv2", "k400", "ucf101", "hmdb51", "list"):
        write_layout(data, place / "data" / data.replace("list", "lists"), train=8, validation=4, classes=2)
    write_layout("folder", place / "home" / "videos", train=8, validation=2)
    write_video(place / "home" / "films" / "long.mp4", moving_frames(0, count=96))
    write_video(place / "data" / "epic" / "P01" / "videos" / "P01_01.MP4", moving_frames(0, count=96))
    actions = "participant_id,video_id,start_timestamp,stop_timestamp,verb_class"
    rows = "P01,P01_01,00:00:00.14,00:00:03.37,3\nP01,P01_01,00:00:04.37,00:00:06.17,0\n"
    (place / "data" / "epic" / "EPIC_100_train.csv").write_text(f"{actions}\n{rows}")
    write_video(place / "dv" / "tape.mov", moving_frames(0, count=32), pixel_aspect=Fraction(64, 45))
    pages = [ROOT / "docs" / f"{name}.md" for name in ("agents", "data", "plugs")]
    for language, text in (block for page in pages for block in blocks(page)):
        if language == "python" and (file := FILE.match(text)):
            (place / file[1]).parent.mkdir(exist_ok=True)
            (place / file[1]).write_text(text)
    for name in ("a.mp4", "b.webm"):
        codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
        write_video(place / name, moving_frames(1), codec=codec)
    (place / "data" / demo_root.name).symlink_to(demo_root)
    make_atari_data(place / "data" / "atari-v1", atari_config(("Pong",), videos=4, held_out=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run_command("python scripts/train_ppo.py --env TatsMask-ssv2-v0 --root /data/ssv2", place)
        made = place / "runs" / "ssv2-tats-seed0-1"
        for data, agents in RUNS.items():
            for agent in agents:
                shutil.copytree(made, place / "runs" / f"{data}-{agent}-seed0-1")
        for format, target in (("hf", "home/videomae-base"), ("videomae", "published")):
            run_command(f"python scripts/export_encoder.py {made} --format {format} --out {target}", place)
        (place / "published" / "encoder.pth").rename(place / "checkpoint.pth")
        run_command(f"python scripts/finetune.py --encoder {made} --env TatsMask-ssv2-v0 --root /data/ssv2", place)
        tuned = place / "runs" / "ssv2-finetune-seed0-1"
        for format, target in (("hf", "home/videomae-base-finetuned"), ("videomae", "published-finetuned")):
            run_command(f"python scripts/export_encoder.py {tuned} --format {format} --out {target}", place)
        (place / "published-finetuned" / "classifier.pth").rename(place / "finetuned.pth")
    return place


@pytest.fixture(name="unregistered")
def _unregistered():
    """Take the datasets of pages out of the table again."""
    known = set(DATASETS)
    yield
    for name in DATASETS.keys() - known:
        del DATASETS[name]


@pytest.mark.usefixtures("unregistered")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page, place, demo_root, tmp_path, monkeypatch):
    shutil.copytree(place, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TATS_GYM_DATA", str(tmp_path / "data"))
    for module in (compare, probe_study, finetune_study):  # they make thousands of clips, to probe on
        monkeypatch.setattr(module, "demo_data_of", lambda *_: demo_root)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for module in (compare, study, sweep):
        monkeypatch.setattr(module, "run_trials", _begin)
    monkeypatch.setattr(plan, "plan_run", _begin)
    namespace: dict[str, object] = {}
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python" and not FILE.match(text):
            exec(compile(_here(text, tmp_path), f"{page.name}, block {number}", "exec"), namespace)
        elif language == "bash":
            for command in commands(text):
                run_command(command, tmp_path)
        elif language == "yaml":
            Path(FILE.match(text)[1]).write_text(text)
        elif language == "toml":
            groups = tomllib.loads(text)["project"]["entry-points"]
            assert groups.keys() <= {"tats_gym.agents", "tats_gym.rewards"}


def _begin(*_: object, **__: object) -> None:
    raise BegunError


def commands(text: str) -> list[str]:
    """A block's commands, one a line; of a script for a cluster, the ones that start Python."""
    joined = text.replace("\\\n", " ")
    if not joined.startswith("#!/bin/bash"):
        return [line for line in joined.splitlines() if line]
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    variable = re.compile(r'"?\$(\w+)([^"\s]*)"?')
    launches = [line for line in joined.splitlines() if "torchrun" in line]
    return [variable.sub(r"1\2", line[line.index("torchrun") :]) for line in launches]


def _here(text: str, place: Path) -> str:
    """Paths as a page gives them, brought to where the test has them."""
    return text.replace("/data/", f"{place}/data/").replace("~/", f"{place}/home/")


def run_command(command: str, place: Path) -> None:
    """Run one line as a shell would, but in this process and small."""
    program, *words = shlex.split(_here(command, place), comments=True)
    if program == "make":
        subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)
    elif words[:2] == ["-m", "rl_zoo3.train"]:  # tests/test_clients.py trains with its settings
        assert (ROOT / words[words.index("--conf-file") + 1]).is_file()
    elif program == "pip":
        assert words == ["install", "-e", "."]
    elif program == "tats-gym":
        run_program("tats_gym", words)
    elif program == "torchrun":
        launch = get_args_parser().parse_args(words)
        run = run_program if launch.module else run_script
        run(launch.training_script, launch.training_script_args)
    else:
        assert program == "python", command
        run_script(words[0], words[1:])


def run_script(script: str, arguments: list[str]) -> None:
    """Run a script of this checkout to its end, or to where hours would begin."""
    path = ROOT / script
    command = re.search(r'run\("([\w-]+)"', path.read_text()) if path.parent.name == "scripts" else None
    run_small(
        command[1] if command else path.name, script, arguments, partial(runpy.run_path, str(path), run_name="__main__")
    )


def run_program(module: str, words: list[str]) -> None:
    """Run a command of `tats-gym` in the same way."""
    command, *arguments = words
    run_small(command, module, arguments, partial(runpy.run_module, module, run_name="__main__"), command)


def run_small(name: str, program: str, arguments: list[str], run: Callable[[], object], *before: str) -> None:
    """Run a command with options that make it small; `before` stands in front of its own words."""
    refused = MAE if "--own-mae" in arguments else ""
    smaller = [] if "--resume" in arguments else SMALLER.get(name, "").replace(refused, "").split()
    if name == "train" and "--init-mae" not in arguments and smaller:
        smaller += ["--init-mae", "None"]  # the shipped MAE is of the preset's size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *before, *arguments, *smaller])
        patch.setattr(sys, "path", sys.path.copy())
        code: object = None
        try:
            run()
        except SystemExit as ended:
            code = ended.code
        except BegunError:
            code = None if name in LONG else "began many runs"
    assert code in (0, None), f"{program} {shlex.join([*before, *arguments])}"


def test_the_site_is_built_without_a_warning_and_without_a_network(tmp_path):
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in PAGES[1:]:
        built = tmp_path / ("index.html" if page.stem == "index" else f"{page.stem}/index.html")
        text = built.read_text()
        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]+\.(?:js|css|woff2?)', text), page
        parts = re.findall(r'<(?:link|script|img)\s[^>]*(?:src|href)="([^"#:]+)"', text)
        assert {Path(part).suffix for part in parts} >= {".js", ".css"}, page
        assert all((built.parent / part).exists() for part in parts), page
    assert (tmp_path / "benchmarks" / "results" / "step_cpu.json").is_file()


@pytest.mark.parametrize("folder", ["tats_gym", "agents", "envs"])
def test_sections_of_errors_name_conditions(folder):
    texts = [file.read_text() for file in (ROOT / folder).rglob("*.py")]
    section = re.compile(r"^( *)Raises:\n((?:\1 {4}.+\n)+)", re.MULTILINE)
    sections = [found for text in texts for found in section.findall(text)]
    entries = [
        each for indent, lines in sections for each in re.findall(rf"^{indent} {{4}}(\S.*)", lines, re.MULTILINE)
    ]
    assert entries
    assert not [entry for entry in entries if not re.match(r"[\w.]+: If ", entry)]
