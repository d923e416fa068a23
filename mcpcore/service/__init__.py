"""What a server offers, declared: no I/O, nothing awaited.  Start with :class:`Server`."""

from mcpcore.service.content import Audio, Embedded, Image
from mcpcore.service.errors import (
    HandlerError,
    InvalidValue,
    OutputMismatch,
    PromptError,
    ResourceError,
    ResourceNotFound,
    ToolError,
    ValidatorMissing,
)
from mcpcore.service.prepared import Prepared, is_masked
from mcpcore.service.prompts import assistant, user
from mcpcore.service.schema import Validator, mirrored
from mcpcore.service.service import Server
from mcpcore.service.uri_templates import TemplateError, UnsafeValue, UriTemplate

__all__ = [
    "Audio",
    "Embedded",
    "HandlerError",
    "Image",
    "InvalidValue",
    "OutputMismatch",
    "Prepared",
    "PromptError",
    "ResourceError",
    "ResourceNotFound",
    "Server",
    "TemplateError",
    "ToolError",
    "UnsafeValue",
    "UriTemplate",
    "Validator",
    "ValidatorMissing",
    "assistant",
    "is_masked",
    "mirrored",
    "user",
]
