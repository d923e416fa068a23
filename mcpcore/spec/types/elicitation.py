"""Elicitation: the server asks the client's user.

Source: the elicitation page of 2025-06-18 and later.
"""

from typing import Any, Literal

from mcpcore.spec.types.base import NotificationParams, RequestParams, Result, TaskMetadata
from mcpcore.spec.types.model import Maybe, Model


class ElicitParams(RequestParams, kw_only=True):
    """Params of ``elicitation/create``: a form to fill in, or a URL to visit.

    No ``mode`` means form.  The tag is optional on the wire, so both modes decode to this class; to
    make one, use :class:`ElicitFormParams` or :class:`ElicitUrlParams`.
    """

    message: str
    mode: Maybe[Literal["form", "url"]] = None
    requested_schema: Maybe[dict[str, Any]] = None
    url: Maybe[str] = None
    elicitation_id: Maybe[str] = None
    task: Maybe[TaskMetadata] = None

    def __post_init__(self) -> None:
        if self.mode == "url":
            if self.url is None:
                raise ValueError("Object missing required field `url` of mode `url`")
        elif self.requested_schema is None:
            raise ValueError("Object missing required field `requestedSchema` of mode `form`")


class ElicitFormParams(ElicitParams, kw_only=True):
    """Form to fill in: a flat object schema of primitive properties."""

    mode: Maybe[Literal["form"]] = None
    requested_schema: dict[str, Any]


class ElicitUrlParams(ElicitParams, kw_only=True):
    """URL for the user to visit (since 2025-11-25); ``elicitation_id`` in that revision only."""

    mode: Literal["url"]
    url: str


class ElicitResult(Result, kw_only=True):
    """Action of the user; ``content`` only with ``accept``."""

    action: Literal["accept", "decline", "cancel"]
    content: Maybe[dict[str, str | int | float | bool | list[str]]] = None


class ElicitationCompleteParams(NotificationParams, kw_only=True):
    """``notifications/elicitation/complete`` (2025-11-25): the visit to the URL has ended."""

    elicitation_id: str


class UrlElicitationRequiredData(Model, kw_only=True):
    """Data of -32042 (2025-11-25): URLs to visit before the request can succeed."""

    elicitations: list[ElicitUrlParams]
