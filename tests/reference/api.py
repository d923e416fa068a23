"""The modules that the API reference is made of, and its pages.

Each page shows what its modules list in ``__all__``, or define without an underscore where there
is none, with the docstrings.  The pages are made while the site is built (``make docs``).
"""

import importlib

API: dict[str, tuple[str, tuple[str, ...]]] = {
    "mcpcore": (
        "One conversation, without I/O",
        ("mcpcore", "mcpcore.engine", "mcpcore.engine.events"),
    ),
    "http": (
        "Many conversations behind one endpoint, without I/O",
        ("mcpcore.http", "mcpcore.http.stored"),
    ),
    "service": ("What a server offers, declared", ("mcpcore.service",)),
    "server": (
        "Serving and handling",
        (
            "transports.server",
            "transports.context",
            "transports.asgi",
            "transports.http_endpoint",
            "transports.middleware",
            "transports.server_middleware",
        ),
    ),
    "client": (
        "Connecting and calling",
        (
            "transports.client",
            "transports.client_open",
            "transports.callbacks",
            "transports.targets",
            "transports.client_errors",
            "transports.client_middleware",
            "transports.config_file",
        ),
    ),
    "operations": (
        "Settings, stores, schemas",
        (
            "transports.http_settings",
            "transports.socket_settings",
            "transports.websocket_settings",
            "transports.tls",
            "transports.stores.base",
            "transports.stores.open",
            "transports.json_schema",
            "transports.bindings",
        ),
    ),
    "testing": ("Hypothesis strategies", ("conformance.strategies",)),
}
"""Pages by name: title and modules."""


def page(name: str) -> str:
    """Return a page as Markdown with one mkdocstrings block for each module."""
    title, modules = API[name]
    lines = [f"# {title}", ""]
    for module in modules:
        lines += [f"::: {module}", "    options:", "      members:"]
        lines += [f"        - {member}" for member in members(module)]
        lines.append("")
    return "\n".join(lines)


def members(module: str) -> list[str]:
    """Return the public names of a module."""
    loaded = importlib.import_module(module)
    listed = getattr(loaded, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module
    ]
