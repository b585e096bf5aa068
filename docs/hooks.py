"""Adds the benchmarks' records to the site, under the links of the repository, and keeps words of code on one line."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ROOT / "benchmarks"
CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
WORD = re.compile(r"(?<!\S)\S{1,32}(?!\S)")
"""A word of code within a sentence, short enough for any screen."""


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the records and their notes below benchmarks/."""
    entries = sorted((MEASURED / "leaderboard").glob("*/*.json"))
    for path in [MEASURED / "NOTES.md", *sorted((MEASURED / "results").iterdir()), *entries]:
        files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point a page's links to benchmarks/ at the copies."""
    return markdown.replace("](../benchmarks/", "](benchmarks/")


def on_page_content(html: str, **_: Any) -> str:
    """Keep each word of code on one line, which browsers would break at the hyphens of an option."""
    return CODE.sub(lambda code: WORD.sub(r'<span class="word">\g<0></span>', code[0]), html)
