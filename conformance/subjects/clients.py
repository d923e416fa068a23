"""Our reference client where it is no program of its own."""

from collections.abc import Mapping

from conformance.kit.client_play import Tested
from conformance.kit.model import Binding
from conformance.subjects.core_client import CoreClient
from conformance.subjects.memory_client import MEMORY_CLIENT

HERE: Mapping[Binding, Tested] = {Binding.MEMORY: MEMORY_CLIENT, Binding.CORE: CoreClient}
"""What is met in this process."""
