"""Declarations of a server's features, without I/O or awaiting.  Start with :class:`Server`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcpcore.service.content import Audio, Embedded, Image
from mcpcore.service.handlers import Prepared, is_masked
from mcpcore.service.interface import Service
from mcpcore.service.schema import Validator, mirrored
from mcpcore.service.server import Server

if TYPE_CHECKING:  # late: few servers need them
    from mcpcore.service.prompts import assistant, user
    from mcpcore.service.uri_templates import UriTemplate

__all__ = [
    "Audio",
    "Embedded",
    "Image",
    "Prepared",
    "Server",
    "Service",
    "UriTemplate",
    "Validator",
    "assistant",
    "is_masked",
    "mirrored",
    "user",
]

if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = "prompts" if name in ("assistant", "user") else "uri_templates"
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value
