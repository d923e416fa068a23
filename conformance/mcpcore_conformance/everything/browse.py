"""The person who signs in without a browser: one GET of the authorization endpoint.

The standard library alone: programs of other libraries have it too.
"""

import http.client
from urllib.parse import urlsplit

_PATIENCE = 10.0


def redirect_of(url: str) -> str | None:
    """Return the target of the redirect at a URL, which is not followed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_PATIENCE)
    try:
        connection.request("GET", f"{parts.path or '/'}?{parts.query}")
        response = connection.getresponse()
        response.read()
        return response.getheader("location") if response.status in (302, 303) else None
    finally:
        connection.close()
