"""The conformance kit through a gateway, compared with the kit played against the server itself."""
