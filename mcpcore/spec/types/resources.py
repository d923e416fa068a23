"""Resources: data of a server for clients to read.  Source: the resources page of each revision."""

from msgspec import field

from mcpcore.spec.types import base
from mcpcore.spec.types.content import ResourceContents
from mcpcore.spec.types.model import Maybe, Model


class Resource(Model, kw_only=True):
    """Declaration of a resource; ``size`` in bytes, before any encoding."""

    uri: str
    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    mime_type: Maybe[str] = None
    size: Maybe[int] = None
    icons: list[base.Icon] = field(default_factory=list)
    annotations: Maybe[base.Annotations] = None
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class ResourceTemplate(Model, kw_only=True):
    """Template of a family of resources, by RFC 6570."""

    uri_template: str
    name: str
    title: Maybe[str] = None
    description: Maybe[str] = None
    mime_type: Maybe[str] = None
    icons: list[base.Icon] = field(default_factory=list)
    annotations: Maybe[base.Annotations] = None
    meta: Maybe[base.Meta] = field(default=None, name="_meta")


class ListResourcesResult(base.CacheablePage, kw_only=True):
    """Result of ``resources/list``: one page of resources."""

    resources: list[Resource]


class ListResourceTemplatesResult(base.CacheablePage, kw_only=True):
    """Result of ``resources/templates/list``: one page of templates."""

    resource_templates: list[ResourceTemplate]


class ResourceParams(base.RequestParams, kw_only=True):
    """Params of a request about one resource."""

    uri: str


class ReadResourceParams(base.InputResponseParams, kw_only=True):
    """Params of ``resources/read``."""

    uri: str


class ReadResourceResult(base.CacheableResult, kw_only=True):
    """Result of ``resources/read``: more than one content if the resource is a collection."""

    contents: list[ResourceContents]


class SubscribeParams(ResourceParams, kw_only=True):
    """Params of ``resources/subscribe`` (legacy)."""


class UnsubscribeParams(ResourceParams, kw_only=True):
    """Params of ``resources/unsubscribe`` (legacy)."""


class ResourceUpdatedParams(base.NotificationParams, kw_only=True):
    """``notifications/resources/updated``: the resource, or one inside it, has changed."""

    uri: str
