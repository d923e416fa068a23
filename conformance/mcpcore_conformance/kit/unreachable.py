"""Why a server cannot be reached, in words."""

import os
import ssl


def reason_of(error: BaseException) -> str:
    """The reason of the system, which anyio keeps as the cause; in lower case, without numbers."""
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer"
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {found.verify_message.lower()}"
        if isinstance(found, ssl.SSLError):
            return f"no TLS: {(found.reason or str(found)).replace('_', ' ').lower()}"
        if isinstance(found, OSError) and found.errno:
            # of getaddrinfo it is no number of the system, and the text says it
            reason = os.strerror(found.errno) if found.errno > 0 else str(found.strerror)
            return reason.lower()
        found = found.__cause__
    return str(error) or type(error).__name__
