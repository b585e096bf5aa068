"""The export as a user calls it, and docs/export.md's code as it stands."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from tats_gym.export import FORMATS
from tests.test_sampler_export import random_run

ROOT = Path(__file__).parent.parent
RUN = Path("runs/ssv2-tats-seed0-1")


@pytest.fixture(name="main")
def _main(monkeypatch):
    """The script's own main, in this process."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    return runpy.run_path(str(ROOT / "scripts" / "export_encoder.py"))["main"]


@pytest.fixture(name="run")
def _run(clips_root, tmp_path, monkeypatch):
    """A run under the name that the page gives it, seen from the working directory."""
    monkeypatch.chdir(tmp_path)
    RUN.parent.mkdir()
    return random_run(clips_root, tmp_path / "made").folder.rename(RUN)


def test_the_pages_python_runs_as_it_stands(main, capsys, run):
    pytest.importorskip("transformers")
    pytest.importorskip("onnxruntime")
    for format in (*FORMATS, "sampler"):
        assert main([str(run), "--format", format, "--out", f"exported/{format}"]) == 0
        shown = capsys.readouterr().out
        assert "load it with: " in shown
        assert f"exported/{format}" in shown
    page = (ROOT / "docs" / "export.md").read_text()
    namespace = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)):
        exec(compile(block, f"docs/export.md block {number}", "exec"), namespace)
    assert namespace["tokens"].shape == (2, 8, 64)
    assert namespace["probabilities"].shape == (2, 8)
    assert namespace["row"].shape == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["runs/ssv2-tats-seed0-2", "--format", "hf"],
            "a path that exists; got 'runs/ssv2-tats-seed0-2'; did you mean",
        ),
        (["runs", "--format", "hf"], "no encoder in runs: there is no checkpoint"),
        (["nothing", "--format", "sampler"], "no checkpoint at nothing"),
        ([str(RUN), "--format", "hf", "--out", "."], r"\. must be a new or an empty folder"),
        ([str(RUN), "--format", "tim"], "(?s)tim"),
        (["base", "--format", "hf"], "the preset 'base' needs a grid and a seed"),
    ],
)
def test_bad_arguments_are_answered_without_a_traceback(main, capsys, run, arguments, message):
    try:
        code = main([*arguments, *([] if "--out" in arguments else ["--out", "new"])])
    except SystemExit as ended:  # how the command line's own parser leaves
        code = ended.code
    assert code in (1, 2)
    shown = capsys.readouterr()
    answer = re.sub(r"[│╭╮╰╯─\s]+", " ", shown.err + shown.out)
    assert re.search(message, answer), answer
    assert not Path("new").exists()
