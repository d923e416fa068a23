"""The page on HTTP+SSE: its programs, its links, and the settings that it names."""

from mcpcore.http.settings import HttpClientSettings, SsePaths, SseUse
from tests.docs.blocks import ROOT

PAGE = ROOT / "docs" / "how-to" / "legacy-sse.md"


def test_what_is_said_of_settings() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{use.name}`" in text or f"SseUse.{use.name}" in text for use in SseUse)
    assert (
        f"`HttpClientSettings.endpoint_timeout` ({HttpClientSettings().endpoint_timeout:g} s)"
        in text
    )
    assert f"`{SsePaths().stream}`" in text
