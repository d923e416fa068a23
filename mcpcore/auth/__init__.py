"""Authorization over HTTP: the client's machine, and the judgement of a resource server.

Pure: no clock, randomness, sockets, files or cryptography.
"""
