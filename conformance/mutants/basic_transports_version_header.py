"""Mutants of the version header of Streamable HTTP."""

from conformance.mutants.http_faults import (
    calls,
    deletes,
    gets,
    notifications,
    overlooks,
    refuses,
    requests,
    with_header,
)
from conformance.mutants.model import Table
from mcpcore.spec.revisions import LATEST_LEGACY

table = Table("basic/transports")

VERSION = "mcp-protocol-version"
AGREED = LATEST_LEGACY.name

table.add(
    "any-version",
    ("protocol-version-header/unsupported", "protocol-version-header/invalid"),
    "Does not look at the version of requests.",
    overlooks(requests, VERSION, instead=AGREED),
)
table.add(
    "any-version-of-notifications",
    "protocol-version-header/invalid-notification",
    "Does not look at the version of notifications.",
    overlooks(notifications, VERSION, instead=AGREED),
)
table.add(
    "any-version-of-get",
    "protocol-version-header/invalid-get",
    "Does not look at the version of GET.",
    overlooks(gets, VERSION, instead=AGREED),
)
table.add(
    "any-version-of-delete",
    "protocol-version-header/invalid-delete",
    "Does not look at the version of DELETE.",
    overlooks(deletes, VERSION, instead=AGREED),
)
table.add(
    "version-needed",
    "protocol-version-header/absent",
    "Refuses requests without a version.",
    refuses(with_header(VERSION, lambda value: value is None), 400),
)
table.add(
    "no-version-on-initialize",
    "protocol-version-header/on-initialize",
    "Refuses an initialize that has the header already.",
    refuses(lambda asked: calls("initialize")(asked) and VERSION in asked.headers, 400),
)
