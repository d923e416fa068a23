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

table.server(
    "any-version", "protocol-version-header/unsupported", "protocol-version-header/invalid"
).does("Does not look at the version of requests.", overlooks(requests, VERSION, instead=AGREED))
table.server("any-version-of-notifications", "protocol-version-header/invalid-notification").does(
    "Does not look at the version of notifications.",
    overlooks(notifications, VERSION, instead=AGREED),
)
table.server("any-version-of-get", "protocol-version-header/invalid-get").does(
    "Does not look at the version of GET.", overlooks(gets, VERSION, instead=AGREED)
)
table.server("any-version-of-delete", "protocol-version-header/invalid-delete").does(
    "Does not look at the version of DELETE.", overlooks(deletes, VERSION, instead=AGREED)
)
table.server("version-needed", "protocol-version-header/absent").does(
    "Refuses requests without a version.",
    refuses(with_header(VERSION, lambda value: value is None), 400),
)
table.server("no-version-on-initialize", "protocol-version-header/on-initialize").does(
    "Refuses an initialize that has the header already.",
    refuses(lambda asked: calls("initialize")(asked) and VERSION in asked.headers, 400),
)
