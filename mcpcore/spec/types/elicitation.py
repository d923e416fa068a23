"""Elicitation: the server asks the client's user.

Source: the elicitation page of 2025-06-18 and later.
"""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from mcpcore.spec.types.base import NotificationParams, RequestParams, Result, TaskMetadata


class ElicitParams(RequestParams, kw_only=True):
    """``elicitation/create``: a form to fill in, or a URL to visit; no ``mode`` means form.

    The tag is optional on the wire, so both modes decode to this class; to make one, use
    :class:`ElicitFormParams` or :class:`ElicitUrlParams`.
    """

    message: str
    mode: Literal["form", "url"] | UnsetType = UNSET
    requested_schema: dict[str, Any] | UnsetType = UNSET
    url: str | UnsetType = UNSET
    elicitation_id: str | UnsetType = UNSET
    task: TaskMetadata | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.mode == "url":
            if self.url is UNSET:
                raise ValueError("Object missing required field `url` of mode `url`")
        elif self.requested_schema is UNSET:
            raise ValueError("Object missing required field `requestedSchema` of mode `form`")


class ElicitFormParams(ElicitParams, kw_only=True):
    """A form: a flat object schema of primitive properties."""

    mode: Literal["form"] | UnsetType = UNSET
    requested_schema: dict[str, Any]


class ElicitUrlParams(ElicitParams, kw_only=True):
    """A URL for the user (since 2025-11-25); ``elicitation_id`` in that revision only."""

    mode: Literal["url"]
    url: str


class ElicitResult(Result, kw_only=True):
    """What the user did; ``content`` only with ``accept``."""

    action: Literal["accept", "decline", "cancel"]
    content: dict[str, str | int | float | bool | list[str]] | UnsetType = UNSET


class ElicitationCompleteParams(NotificationParams, kw_only=True):
    """``notifications/elicitation/complete`` (2025-11-25): the visit to the URL has ended."""

    elicitation_id: str
