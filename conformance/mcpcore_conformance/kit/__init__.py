"""The conformance kit: what a case is, how it talks to a program, and how it is judged.

Independent on purpose: of mcpcore it imports the tables of ``mcpcore.spec`` only, never the engine,
the HTTP machines or the runtime, so that a fault of ours cannot hide itself.
"""
