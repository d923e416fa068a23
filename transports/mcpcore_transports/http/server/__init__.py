"""HTTP servers: on anyio, on asyncio, under ASGI and under other frameworks."""
