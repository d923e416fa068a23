"""``python -m mcpcore_bench ...`` is ``mcpcore bench ...``."""

from mcpcore_bench.commands.app import app

if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
