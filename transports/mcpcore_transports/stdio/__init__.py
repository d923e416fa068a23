"""The stdio binding: a server on standard input and output, and servers as child processes."""
