"""Tasks on the server's side."""
