"""Hooks of the site's build: pages of the API, and links that leave the documentation.

Reports and code have no page on the site: a link to them becomes the path to look at.
"""

import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

from tests.reference.api import API, page

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#\s]+)(?:#[^)\s]+)?\)")


def on_config(config: Any) -> Any:
    """Put the pages of the API where the navigation says ``API``."""
    for section in config.nav:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and "API" in entry:
                    entry["API"] = [{API[name][0]: f"reference/api/{name}.md"} for name in API]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the API."""
    for name in API:
        files.append(File.generated(config, f"reference/api/{name}.md", content=page(name)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Name the path where a link leaves the documentation; a fragment is Python, too."""
    folder = posixpath.dirname(page.file.src_uri)

    def said(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        if path.startswith("docs/"):
            return link[0]
        return f"`{path}`" if link[1].strip("`") == path else f"{link[1]} (`{path}`)"

    return _LINK.sub(said, markdown.replace("```python fragment\n", "```python\n"))
