"""Tasks on the client's side."""
