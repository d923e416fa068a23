"""Our reference client where it is no program of its own."""

from collections.abc import Mapping

from mcpcore_conformance.kit.client_play import Tested
from mcpcore_conformance.kit.model import Binding
from mcpcore_conformance.subjects.core_client import CoreClient
from mcpcore_conformance.subjects.memory_client import MEMORY_CLIENT

HERE: Mapping[Binding, Tested] = {Binding.MEMORY: MEMORY_CLIENT, Binding.CORE: CoreClient}
"""What is met in this process."""
