"""Server side of HTTP: many conversations behind one endpoint."""
