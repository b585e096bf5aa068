"""The provenance of numbers: commit, versions and machine."""

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RECORDED = ("gymnasium", "stable-baselines3", "torch", "timm", "decord", "av", "numpy")
"""Packages whose versions are recorded."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version(), **versions_of(*RECORDED)}


def versions_of(*packages: str) -> dict[str, str]:
    """Return the versions of the installed packages among these."""
    by_package = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            by_package[package] = version(package)
    return by_package


def commit() -> str | None:
    """Return the commit of this checkout, with "-dirty" if files have changed; None outside a git checkout."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        run = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None if run.returncode == 0 else None


def origin() -> dict[str, Any]:
    """Return the provenance of a result: commit, date, machine and versions."""
    return {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, Any]:
    """Return this machine's cores, processor, and GPUs if it has any."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"cores": os.cpu_count(), "processor": processor()} | ({"gpus": gpus} if gpus else {})


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
