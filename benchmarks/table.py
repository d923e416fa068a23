"""All rows, in the order in which they are measured and shown."""

from benchmarks import table_http, table_others
from benchmarks.rows import Row

ROWS: dict[str, Row] = {row.name: row for row in (*table_http.ROWS, *table_others.ROWS)}
