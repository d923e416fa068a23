"""Adding a server to the configuration file of another program, without other changes to it.

The counterpart of :mod:`mcpcore_transports.client.config.file`.  A file that could not be rewritten
faithfully is refused: one with comments, one with a duplicate member, one that is no JSON object.
"""

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mcpcore.errors import BadConfig
from mcpcore_transports.client.config.file import parse_file

BACKUP = ".bak"
"""Suffix of the copy of a file before its change."""
_OWNERS = 0o600
"""Mode of a new file: it may contain secrets."""
_INDENT = re.compile(r"\n([ \t]+)\S")


def add_server(
    path: Path, table: str, name: str, entry: Mapping[str, Any], *, replace: bool = False
) -> Literal["added", "replaced", ""]:
    """Add a server to the object ``table`` of a file; create the file if necessary.

    ``replace`` allows replacing another server of that name.  The file is replaced atomically, and
    the old version is kept beside it (:data:`BACKUP`).  Returns "added" or "replaced", or nothing
    if the same entry is there already.  Raises BadConfig without any change.
    """
    file = path.resolve()  # a symbolic link stays one
    text, top = parse_file(file, exactly=True) if _has_text(file) else ("", {})
    servers = top.setdefault(table, {}) if isinstance(top, dict) else None
    if not isinstance(servers, dict):
        raise BadConfig(f"{path}: expected an object, with an object {table!r} if there is one")
    known = servers.get(name)
    if known == entry:
        return ""
    if known is not None and not replace:
        raise BadConfig(f"{path} has another server {name!r}")
    servers[name] = entry
    indent = _INDENT.search(text)
    try:
        made = json.dumps(
            top, indent=indent[1] if indent else 2, ensure_ascii=False, allow_nan=False
        )
        data, mode = f"{made}\n".encode(), _OWNERS
        file.parent.mkdir(parents=True, exist_ok=True)
        if os.path.exists(file):
            mode = stat.S_IMODE(file.stat().st_mode)
            _exchange(file.with_name(file.name + BACKUP), file.read_bytes(), mode=mode)
        _exchange(file, data, mode=mode)
    except (ValueError, OSError) as error:  # ValueError: infinity, or a lone surrogate
        reason = getattr(error, "strerror", None) or str(error)
        raise BadConfig(f"{path}: cannot be written: {reason.lower()}") from None
    return "added" if known is None else "replaced"


def _has_text(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def _exchange(file: Path, data: bytes, *, mode: int) -> None:
    """Replace a file atomically: a reader gets the old version or the new one."""
    handle, new = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.chmod(new, mode)
        os.replace(new, file)
    except BaseException:
        os.unlink(new)
        raise
