"""The wires: how the kit, as a client, reaches a server over each binding."""
