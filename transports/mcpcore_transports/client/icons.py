"""Removal of icons that a client must not show (base protocol page, "Icons")."""

import logging
from collections.abc import Iterable
from typing import Any

from mcpcore.spec.icons import is_safe_icon

logger = logging.getLogger("mcpcore.client")


def drop_unsafe_icons(items: Iterable[Any]) -> None:
    """Remove icons with unsafe URIs from ``items``, which have a name and may have icons."""
    for item in items:
        icons = getattr(item, "icons", [])
        safe = [icon for icon in icons if is_safe_icon(icon.src)]
        if len(safe) < len(icons):
            logger.warning("icons of %r are left out: their URIs are not https or data", item.name)
            item.icons = safe
