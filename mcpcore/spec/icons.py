"""Safety rule for icons: the permitted schemes of their URIs.

Source: base protocol page, "Icons", security considerations (2025-11-25 and later).
"""

_SCHEMES = ("https://", "data:image/")


def is_safe_icon(src: str) -> bool:
    """Return True if an icon's URI is https or an image in a data URI; others must be refused.

    >>> is_safe_icon("javascript:alert(1)")
    False
    """
    return src[:16].lower().startswith(_SCHEMES)
