"""All rows, in the order in which they are measured and shown."""

from mcpcore_bench import (
    table_asgi,
    table_bindings,
    table_crowds,
    table_heads,
    table_http,
    table_others,
    table_protected,
    table_setup,
    table_tls,
)
from mcpcore_bench.rows import Row

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        *table_http.ROWS,
        *table_heads.ROWS,
        *table_crowds.ROWS,
        *table_setup.ROWS,
        *table_asgi.ROWS,
        *table_tls.ROWS,
        *table_protected.ROWS,
        *table_bindings.ROWS,
        *table_others.ROWS,
    )
}
