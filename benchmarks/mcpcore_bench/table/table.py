"""All rows, in the order in which they are measured and shown."""

from mcpcore_bench.rows import Row
from mcpcore_bench.table import (
    adapted,
    added,
    asgi,
    bindings,
    crowds,
    heads,
    hops,
    http,
    others,
    protected,
    setup,
    tls,
)

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        *http.ROWS,
        *heads.ROWS,
        *crowds.ROWS,
        *setup.ROWS,
        *asgi.ROWS,
        *adapted.ROWS,
        *tls.ROWS,
        *protected.ROWS,
        *bindings.ROWS,
        *others.ROWS,
        *added.ROWS,
        *hops.ROWS,
    )
}
