"""Sessions of an HTTP server in a store, which several workers share."""
