"""Reports runs, their settings and results, as one self-contained HTML page."""

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jinja2
import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from tats_gym.agents.config import PretrainConfig
from tats_gym.agents.training.command_line import command_for, differing
from tats_gym.agents.training.learning import NOT_UPDATED
from tats_gym.clips.readable import evenly_spaced
from tats_gym.runs.folder import names_apart, read_config, read_record
from tats_gym.runs.kinds import PRETRAINING
from tats_gym.runs.metrics import pretraining_metrics, speed
from tats_gym.statistics import of_clips, with_interval

PICTURES = 3
"""Pictures of a run, evenly spaced from its first to its last."""


@dataclass(frozen=True)
class Panel:
    """One plot over the masks so far."""

    title: str
    """Title of the plot."""
    metrics: tuple[str, ...]
    """The first is drawn solid, the others dashed."""
    chance: float | None = None
    """Drawn as a grey line."""
    interval: str | None = None
    """Metric with the half-width of an interval around the first."""


PANELS = (
    Panel("MAE's loss", ("mae/loss",)),
    Panel("held-out error: own masks, dashed: random", ("held_out/error_own", "held_out/error_random")),
    Panel("gain over random masks, 95 % over clips", ("held_out/gain",), chance=0.0, interval="held_out/gain_interval"),
    Panel(
        "gain by fitting the clip, 95 % over clips",
        ("held_out/content_gain",),
        chance=0.0,
        interval="held_out/content_gain_interval",
    ),
    Panel("motion of chosen tokens over that of all", ("held_out/motion_lift",), chance=1.0),
    Panel("tokens that masks of two clips share", ("held_out/overlap",)),
    Panel("online k-NN, top-1; dashed: chance", ("held_out/knn_top1", "held_out/knn_chance")),
    Panel("effective rank of the encoder's features", ("held_out/rankme",)),
    Panel("entropy of the first draw over uniform", ("sampler/entropy_share",), chance=1.0),
    Panel("tokens that are never chosen", ("sampler/never_chosen",), chance=0.0),
    Panel("std of the logits", ("sampler/logit_deviation",), chance=0.0),
    Panel("reward", ("rollout/reward",)),
    Panel("masks/s", ("time/masks_per_s",)),
    Panel("share of the time spent waiting for clips", ("time/data_wait_share",)),
    Panel("peak memory, MiB", ("time/peak_memory_mib",)),
)
RESULTS = {
    "held_out/error_own": "held-out error, own masks",
    "held_out/error_random": "held-out error, random masks",
    "held_out/gain": "gain over random masks (95 % over clips)",
    "held_out/content_gain": "gain by fitting the clip (95 % over clips)",
    "held_out/error_deviation": "std of the errors of a clip's tokens",
    "train/inverse_temperature": "inverse temperature of the sampler",
    "held_out/motion_lift": "motion of chosen tokens over that of all",
    "held_out/overlap": "tokens that masks of two clips share",
    "held_out/knn_top1": "online k-NN of the encoder, top-1",
    "held_out/rankme": "effective rank of the encoder's features",
    "sampler/never_chosen": "tokens that are never chosen",
    "mae/loss": "MAE's loss",
}
"""Metrics in the table of last measurements, to their titles."""


@dataclass(frozen=True)
class ReportedRun:
    """A run as its folder describes it."""

    folder: Path
    """The run's folder."""
    record: dict[str, Any]
    """config.json."""
    config: PretrainConfig
    metrics: list[dict[str, Any]]
    """Rows of metrics.jsonl."""
    name: str
    """Its name on the page."""

    @classmethod
    def read(cls, folder: Path, name: str) -> Self:
        """Read a run's folder; one that has only begun has no metrics yet.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: If it is a fine-tuning, or a pre-training that this version cannot read.
        """
        record, settings = read_record(folder), read_config(folder, PRETRAINING)
        try:
            config = PretrainConfig.from_dict(settings)
        except (KeyError, TypeError, ValueError) as err:
            raise ValueError(f"{folder} holds no pre-training that this version reads: {err!r}") from err
        return cls(folder, record, config, pretraining_metrics(folder), name)

    def series(self, metric: str) -> tuple[list[float], list[float]]:
        """Return the steps at which a metric was logged, and its values."""
        points = [(row["step"], row[metric]) for row in self.metrics if row.get(metric) is not None]
        return [step for step, _ in points], [value for _, value in points]

    @property
    def masks(self) -> int:
        """Masks so far."""
        return max((row["step"] for row in self.metrics), default=0)

    def results(self) -> dict[str, str]:
        """Return the run's last measurements, by their titles in the table."""
        results = {"masks": f"{self.masks:,}"}
        for metric, name in RESULTS.items():
            if values := self.series(metric)[1]:
                half_width = (self.series(f"{metric}_interval")[1] or [math.nan])[-1]
                results[name] = with_interval(values[-1], half_width)
                counts = self.series("held_out/num_clips")[1]  # older runs lack it
                if counts and not math.isnan(half_width):
                    results[name] += f" ({of_clips(int(counts[-1]))})"
                if metric.endswith("gain") and self.series("sampler/updates")[1][-1:] == [0]:
                    results[name] += f", {NOT_UPDATED}"
        rates = speed(self.metrics)
        if rates:
            results["masks/s"] = f"{rates['masks_per_s']:.1f}"
            results["peak memory, MiB"] = f"{rates['peak_memory_mib']:.0f}"
        if broken := self.series("time/broken_videos")[1]:
            results["videos that could not be read"] = f"{broken[-1]:.0f}"
        return results

    def pictures(self) -> list[tuple[str, str]]:
        """Return name and content of the first, middle and last picture of masks, and the last of chosen tokens."""
        masks = sorted((self.folder / "pictures").glob("masks-*-clip0.png"))
        chosen = sorted((self.folder / "pictures").glob("chosen-*.png"))[-1:]
        paths = evenly_spaced(masks, PICTURES) + chosen
        return [(path.stem, _as_url(path.read_bytes(), "image/png")) for path in paths]

    def facts(self) -> dict[str, str]:
        """Return the run's origin: start, commit, machine, versions, and changes of settings."""
        versions = ", ".join(f"{name} {number}" for name, number in self.record.get("versions", {}).items())
        machine = self.record.get("machine", {})
        parts = [f"{machine['cores']} cores", machine["processor"], *machine.get("gpus", ())] if machine else []
        facts = {name: self.record.get(name) for name in ("started", "commit")}
        facts |= {"machine": ", ".join(parts), "versions": versions}
        for each in self.record.get("resumed", ()):
            name = f"changed at step {each['step']}"
            changes = [f"{setting} {was!r} → {now!r}" for setting, (was, now) in each["changed"].items()]
            facts[name] = ", ".join([*filter(None, [facts.get(name)]), *changes])
        return {name: str(value) for name, value in facts.items() if value}


def report(folders: Sequence[Path]) -> str:
    """Return the page about the runs in these folders.

    Raises:
        FileNotFoundError: If a folder holds no run.
        ValueError: If a run is not a pre-training that this version can read.
    """
    folders = list(dict.fromkeys(folder.resolve() for folder in folders))
    runs = [ReportedRun.read(folder, name) for folder, name in zip(folders, names_apart(folders), strict=True)]
    colours = [_hex(number) for number in range(len(runs))]
    results = [run.results() for run in runs]
    names = list(dict.fromkeys(name for each in results for name in each))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        runs=list(zip(runs, colours, strict=True)),
        results={name: [each.get(name, "") for each in results] for name in names},
        differing={name: list(map(_as_text, each)) for name, each in differing([run.config for run in runs]).items()},
        curves=[
            (panel.title, _as_url(_curves(panel, runs, colours), "image/svg+xml"))
            for panel in PANELS
            if any(run.series(panel.metrics[0])[0] for run in runs)
        ],
        commands=[command_for(run.config, run.record.get("processes", 1)) for run in runs],
        settings=[json.dumps(run.record["config"], indent=2) for run in runs],
    )


def _curves(panel: Panel, runs: Sequence[ReportedRun], colours: Sequence[str]) -> bytes:
    with rc_context({"svg.fonttype": "none", "font.size": 8, "font.family": "sans-serif"}):
        figure = Figure(figsize=(4.2, 2.4), layout="constrained")
        FigureCanvasSVG(figure)
        axis = figure.subplots()
        for run, colour in zip(runs, colours, strict=True):
            for number, metric in enumerate(panel.metrics):
                steps, values = run.series(metric)
                one = len(steps) == 1  # no line joins a single point
                marker = ("x" if number else "o") if one else None
                axis.plot(steps, values, "--" if number else "-", color=colour, lw=1.2, marker=marker, ms=5)
                if panel.interval and not number:
                    half = np.array(run.series(panel.interval)[1])
                    if len(half) == len(values):
                        edge = 1.2 if one else 0
                        axis.fill_between(steps, values - half, values + half, color=colour, alpha=0.15, lw=edge)
        if panel.chance is not None:
            axis.axhline(panel.chance, color="0.6", lw=0.8)
        axis.set_xlabel("masks")
        axis.grid(alpha=0.25)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()


def _hex(number: int) -> str:
    red, green, blue, _ = colormaps["tab20"]((2 * number + number // 10) % 20)  # the ten strong ones first
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _as_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _as_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
