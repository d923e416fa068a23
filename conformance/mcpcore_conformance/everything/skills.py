"""Skills: one with files of both kinds and a directory, and another one inside of it."""

from mcpcore_conformance.everything.app import server
from mcpcore_conformance.everything.media import png

_GREETING = """\
---
name: greeting
description: Greets people in the tone that fits the occasion
license: MIT
metadata:
  author: "mcpcore"
---

# Greeting

Read `references/tone.md`, and choose the tone.
"""
_FORMAL = """\
---
name: formal
description: Greets people of high rank
---

Bow.
"""

server.add_skills(
    {
        "greeting/SKILL.md": _GREETING.encode(),
        "greeting/assets/card.png": png(),
        "greeting/references/tone.md": b"Formal in the morning, friendly later.\n",
        "greeting/tones/formal/SKILL.md": _FORMAL.encode(),
    }
)
