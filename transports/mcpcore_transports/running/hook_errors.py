"""Tracebacks of exceptions from application hooks that handle credentials, safe for logs."""

import traceback


def without_messages(error: BaseException) -> str:
    """Return the tracebacks of an exception and its causes, with their types and no messages.

    Messages are left out because they may contain the token that was handled (``KeyError: 'the
    token'``).
    """
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        hidden = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or hidden
    return "followed by\n".join(
        f"{''.join(traceback.format_tb(each.__traceback__))}{type(each).__qualname__}\n"
        for each in reversed(chain)
    ).rstrip()
