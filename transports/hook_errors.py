"""What a function of the user's that deals with credentials has raised, as it may be logged."""

import traceback


def without_messages(error: BaseException) -> str:
    """Where an exception was raised, and those before it, by their types alone.

    Messages are left out: there may be the token in them that was dealt with (``KeyError: 'the
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
