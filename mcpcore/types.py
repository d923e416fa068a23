"""Types of the protocol, one for all revisions: content, capabilities, params and results.

They are those of :mod:`mcpcore.spec.types`, each imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each is imported when it is first asked for
    from mcpcore.spec.types import *  # noqa: F403
else:
    from mcpcore.spec import types

    __all__ = types.__all__

    def __getattr__(name: str) -> Any:
        return getattr(types, name)
