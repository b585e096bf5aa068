"""One page describes runs, and a browser shows it without a network."""

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tats_gym.agents.experiments.run_report.page import report
from tats_gym.agents.training.pretraining import Pretraining
from tests.runs import load_command, tiny_config

GAIN = "gain over random masks (95 % over clips)"
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@pytest.fixture(scope="module", name="runs")
def _runs(clips_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    folders = []
    for agent, ent_coef in (("tats", 1e-3), ("random", 1e-3)):
        config = tiny_config(clips_root, out, agent=agent)
        run = Pretraining(replace(config, tats=replace(config.tats, ent_coef=ent_coef)))
        run.run()
        run.close()
        folders.append(run.folder)
    return folders


@pytest.fixture(scope="module", name="page")
def _page(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "a report.html"
    assert load_command("report").main([*map(str, runs), "--out", str(path)]) == 0
    return path


def _cells(text: str, row: str) -> list[str]:
    found = re.search(rf"<tr><th>{re.escape(row)}</th>(.*?)</tr>", text, re.DOTALL)
    assert found, row
    return re.findall(r"<td>(.*?)</td>", found[1])


def test_results_settings_and_commands_of_every_run_are_there(runs, page):
    text = page.read_text()
    last = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]) for run in runs]
    assert _cells(text, GAIN) == [f"{row['held_out/gain']:.4f}" for row in last]  # of one clip, so no interval
    assert _cells(text, "masks") == ["32", "32"]
    assert _cells(text, "tokens that are never chosen")[1] == ""
    assert _cells(text, "agent") == ["tats", "random"]
    (differing,) = re.findall(r'<table id="differing">.*?</table>', text, re.DOTALL)
    assert re.findall(r"<tr><th>([^<]+)</th><td>", differing) == ["agent"]
    assert text.count("tats-gym train --env TatsMask-folder-v0") == 2
    assert "--agent random" in text


def test_a_gain_stands_beside_its_interval(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    row = {"step": 40, "held_out/gain": 0.05, "held_out/gain_interval": 0.01}
    row |= {"held_out/content_gain": -0.02, "held_out/content_gain_interval": 0.03}
    for count, words in ((64, "64 clips"), (9, "only 9 clips: few")):
        with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
            print(json.dumps(row | {"held_out/num_clips": count}), file=file)
        text = report([tmp_path / "run"])
        assert _cells(text, GAIN) == [f"0.0500 ± 0.0100 ({words})"]
        assert _cells(text, "gain by fitting the clip (95 % over clips)") == [f"-0.0200 ± 0.0300 ({words})"]


def test_an_interval_whose_clips_an_older_run_did_not_count_stands_alone(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text(
        '{"step": 8, "held_out/gain": 0.05, "held_out/gain_interval": 0.01}\n'
    )
    assert _cells(report([tmp_path / "run"]), GAIN) == ["0.0500 ± 0.0100"]


def test_no_file_is_fetched_from_elsewhere(page):
    text = page.read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) > 12
    assert all(source.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for source in sources)
    curves = [base64.b64decode(each.partition(",")[2]).decode() for each in sources if "image/svg" in each[:20]]
    assert all("<script" not in curve and "masks" in curve for curve in curves)
    losses = [re.search(rf'd="M [^"]*" [^>]*stroke: {colour}', curves[0]) for colour in ("#1f77b4", "#ff7f0e")]
    assert all(line[0].count("L ") >= 3 for line in losses)  # four epochs, a line a run


def test_a_curve_of_one_point_is_drawn_as_a_mark(runs, tmp_path):
    shutil.copytree(runs[0], tmp_path / "run")
    rows = [{"step": 8, "mae/loss": 0.9}, {"step": 8, "held_out/gain": 0.05, "held_out/gain_interval": 0.01},
            *({"step": step, "time/masks_per_s": 3.0, "time/peak_memory_mib": 1.0} for step in (8, 16))]  # fmt: skip
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"', report([tmp_path / "run"]))
    curves = [base64.b64decode(each).decode() for each in sources]
    marks = [len(re.findall(r"<use [^>]*fill: #1f77b4|<use [^>]*stroke: #1f77b4", each)) for each in curves]
    assert [count > 0 for count in marks] == [True, True, False, False]  # loss and gain; masks/s and memory are lines


def test_the_first_the_middle_and_the_last_picture_are_shown(runs, page):
    text = page.read_text()
    for run in runs:
        pictures = sorted((run / "pictures").glob("masks-*-clip0.png"))
        for picture in (pictures[0], pictures[len(pictures) // 2], pictures[-1]):
            image = base64.b64encode(picture.read_bytes()).decode()
            assert f'<img src="data:image/png;base64,{image}" alt="{picture.stem}">' in text


def test_runs_of_one_name_are_told_apart_and_a_run_given_twice_is_one(runs, tmp_path):
    for parent in "ab":
        shutil.copytree(runs[0], tmp_path / parent / "run")
    record = json.loads((tmp_path / "b" / "run" / "config.json").read_text())
    (tmp_path / "b" / "run" / "config.json").write_text(json.dumps(record | {"processes": 2}))
    text = report([tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "a" / ".." / "a" / "run"])
    assert re.findall(r"</span>([ab]/run)</h2>", text) == ["a/run", "b/run"]
    assert text.count("tats-gym train --env") == 1
    assert text.count("torchrun --nproc_per_node=2 -m tats_gym train --env") == 1


def test_a_run_that_has_only_begun_has_a_page_and_markup_in_names_stays_text(clips_root, tmp_path):
    config = tiny_config(clips_root, tmp_path)
    run = Pretraining(config, tmp_path / "<b>bold<")
    run.close()
    text = report([run.folder])
    assert "&lt;b&gt;bold&lt;" in text
    assert "<b>" not in text
    assert "Nothing was logged yet" in text


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    script = load_command("report")
    assert script.main([str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert "holds no run" in capsys.readouterr().err
    assert script.main([]) == 1
    assert "runs must name at least one run's folder, got none" in capsys.readouterr().err
    (tmp_path / "config.json").write_text('{"config": {"encoder": "base"}}')
    assert script.main([str(tmp_path), "--out", str(tmp_path / "page.html")]) == 1
    assert "is a fine-tuning run, not a pre-training run: " in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_pages_folder_is_made(runs, tmp_path):
    assert load_command("report").main([str(runs[0]), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").is_file()


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
def test_a_browser_shows_it_offline(page: Path, tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", "--disable-sync",
                     f"--user-data-dir={tmp_path}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get(page.as_uri())
        images = driver.execute_script(
            "return [...document.images].map(image => [image.complete, image.naturalWidth, image.clientWidth])"
        )
        assert len(images) > 12
        assert all(complete and natural > 100 and shown > 100 for complete, natural, shown in images)
        assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert driver.get_log("browser") == []
        for screen in (1200, 390):
            metrics = {"width": screen, "height": 900, "deviceScaleFactor": 1, "mobile": screen == 390}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= screen
    finally:
        driver.quit()
