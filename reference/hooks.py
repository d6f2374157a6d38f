"""Hooks that MkDocs calls while it builds the documentation (mkdocs.yml)."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from reference import commands, plan, results, socs, verdicts

PAGES = {
    "reference/commands.md": commands.write,
    "reference/plan.md": plan.write,
    "reference/results.md": results.write,
    "reference/verdicts.md": verdicts.write,
    "reference/socs.md": socs.write,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated from the code."""
    for path, write in PAGES.items():
        files.append(File.generated(config, path, content=write()))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Declare the language of a page below ko/ as Korean, for screen readers and fonts."""
    korean = page.file.src_uri.startswith("ko/")
    return output.replace('<html lang="en"', '<html lang="ko"', 1) if korean else output
