"""Gateway: any client before any servers, each in its own era and over its own transport."""
