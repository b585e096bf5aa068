"""Brings what was measured into the documentation, so that its pages link to it as they do in the repository."""

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "benchmarks"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the records and their notes below benchmarks/."""
    for path in [MEASURED / "NOTES.md", *sorted((MEASURED / "results").iterdir())]:
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let a page's links to benchmarks/ mean the copies."""
    return markdown.replace("](../benchmarks/", "](benchmarks/")
