"""Removal of icons that a client must not show (base protocol page, "Icons")."""

import logging
from collections.abc import Iterable
from typing import Any

logger = logging.getLogger("mcpcore.client")


def drop_unsafe_icons(items: Iterable[Any]) -> None:
    """Remove icons with unsafe URIs from ``items``, which have a name and may have icons."""
    for item in items:
        icons = getattr(item, "icons", [])
        safe = [icon for icon in icons if icon.is_safe]
        if len(safe) < len(icons):
            logger.warning("icons of %r are left out: their URIs are not https or data", item.name)
            item.icons = safe
