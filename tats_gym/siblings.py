"""A check that `agents` and `envs` are this project's: other distributions use these names too."""

import importlib.util
from pathlib import Path

SIBLINGS = ("agents", "envs")


def check_siblings() -> None:
    """Raise ImportError where `import agents` or `import envs` would find another project's package."""
    home = Path(__file__).resolve().parent.parent
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(
                f"tats_gym needs its package {name!r}, which is not importable; "
                f"install the project (pip install -e {home}) or run from {home}"
            )
        if Path(spec.origin).resolve().parent != home / name:
            raise ImportError(
                f"tats_gym needs its own package {name!r}, but {spec.origin} is in the way; "
                f"uninstall that distribution, rename that file, or put {home} first on PYTHONPATH"
            )
