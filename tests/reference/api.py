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
        (
            "mcpcore.http.server.server",
            "mcpcore.http.client.client",
            "mcpcore.http.messages",
            "mcpcore.http.settings",
            "mcpcore.http.storing",
        ),
    ),
    "service": ("What a server offers, declared", ("mcpcore.service", "mcpcore.service.apps")),
    "server": (
        "Serving and handling",
        (
            "mcpcore_transports.serve.serve",
            "mcpcore_transports.server.context",
            "mcpcore_transports.serve.asgi",
            "mcpcore_transports.serve.wsgi",
            "mcpcore_transports.serve.endpoint",
            "mcpcore_transports.running.middleware",
            "mcpcore_transports.server.middleware",
            "mcpcore_transports.server.skill_files",
        ),
    ),
    "client": (
        "Connecting and calling",
        (
            "mcpcore_transports.client.client",
            "mcpcore_transports.client.core",
            "mcpcore_transports.client.callbacks",
            "mcpcore_transports.targets",
            "mcpcore.errors",
            "mcpcore_transports.client.middleware",
            "mcpcore_transports.client.config",
            "mcpcore_transports.client.servers",
            "mcpcore_transports.client.managed",
            "mcpcore_transports.client.skills",
        ),
    ),
    "policy": (
        "Retries, circuit breaker, balancing, health, rate limits, trust in servers",
        (
            "mcpcore_transports.client.policies",
            "mcpcore.policy.retrying",
            "mcpcore.policy.breaker",
            "mcpcore.policy.balancing",
            "mcpcore.policy.health",
            "mcpcore.policy.rates",
            "mcpcore.policy.failures",
            "mcpcore.policy.differences",
            "mcpcore.policy.trust",
            "mcpcore.policy.screening",
            "mcpcore_transports.client.guarding",
            "mcpcore_transports.client.pins",
        ),
    ),
    "operations": (
        "Settings, stores, schemas, traces",
        (
            "mcpcore_transports.http1.settings",
            "mcpcore_transports.stream.settings",
            "mcpcore_transports.websocket.settings",
            "mcpcore_transports.tls",
            "mcpcore_transports.stores.base",
            "mcpcore_transports.schema",
            "mcpcore.trace.format",
            "mcpcore.trace.redaction",
        ),
    ),
    "testing": ("Hypothesis strategies", ("mcpcore_conformance.strategies",)),
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
