"""HTTP clients: connections, proxies and exchanges."""
