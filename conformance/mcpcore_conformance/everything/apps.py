"""Apps: a tool that a document shows, and one for that document alone."""

from mcpcore import ToolApp
from mcpcore_conformance.everything.app import server

_URI = "ui://everything/clock.html"
_DOCUMENT = """\
<!doctype html>
<html lang="en">
<title>Clock</title>
<p>The time is shown here.</p>
</html>
"""

server.add_app(
    _URI,
    _DOCUMENT,
    name="clock",
    description="Shows the time.",
    csp={"connectDomains": ["https://time.example.com"], "resourceDomains": []},
    permissions=["clipboardWrite"],
    prefers_border=True,
)


@server.tool(app=_URI)
def test_app() -> str:
    """Answers with one text, which a document shows."""
    return "It is noon."


@server.tool(app=ToolApp(_URI, visibility=["app"]))
def test_app_only() -> str:
    """Answers its document with one text; models do not see it."""
    return "It is still noon."
