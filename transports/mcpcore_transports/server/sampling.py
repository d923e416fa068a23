"""Messages of sampling: their rules, and their conversion for older revisions.

Source: the sampling page of 2025-11-25 and later, "Message Content Constraints".
"""

from collections.abc import Sequence

from msgspec import structs

from mcpcore.errors import Unsayable
from mcpcore.spec.members import known_members
from mcpcore.spec.revisions import Revision
from mcpcore.spec.types.content import (
    AudioContent,
    SamplingContent,
    ToolResultContent,
    ToolUseContent,
    UnknownContent,
)
from mcpcore.spec.types.sampling import CreateMessageParams, CreateMessageResult, SamplingMessage


def blocks_of(message: SamplingMessage | CreateMessageResult) -> Sequence[SamplingContent]:
    """Return the content blocks of a message, one or several."""
    return message.content if isinstance(message.content, list) else [message.content]


def message_problem(messages: Sequence[SamplingMessage]) -> str | None:
    """Return the fault in the tool uses and results of a conversation, or None.

    A message with results has no other content, and results follow directly after the uses that
    they answer, each exactly once.
    """
    open_uses: list[str] = []
    for number, message in enumerate(messages):
        found = blocks_of(message)
        results = [block for block in found if isinstance(block, ToolResultContent)]
        where = f"messages[{number}]"
        if results and len(results) < len(found):
            return f"{where}: tool results are mixed with other content"
        if results and message.role != "user":
            return f"{where}: tool results are the user's, not the {message.role}'s"
        answered = sorted(block.tool_use_id for block in results)
        if answered != sorted(open_uses):
            missing = sorted(set(open_uses).difference(answered))
            if missing:
                return f"{where}: tool result missing for {', '.join(missing)}"
            return f"{where}: a tool result answers no tool use of the message before"
        open_uses = [block.id for block in found if isinstance(block, ToolUseContent)]
        if open_uses and message.role != "assistant":
            return f"{where}: tool uses are the assistant's, not the {message.role}'s"
    if open_uses:
        return f"tool result missing for {', '.join(sorted(open_uses))}"
    return None


def params_for(params: CreateMessageParams, revision: Revision) -> CreateMessageParams:
    """Convert the params of a sampling request for ``revision``.  Raises :class:`Unsayable`.

    For a revision with one block per message, a message with several becomes several messages.
    """
    if not revision.sampling_tools and (params.tools, params.tool_choice) != (None, None):
        raise Unsayable(f"{revision.name} has no tools in sampling")
    messages: list[SamplingMessage] = []
    for message in params.messages:
        found = blocks_of(message)
        for block in found:
            _check_kind(block, revision)
        if revision.sampling_tools or not isinstance(message.content, list):
            messages.append(message)
        else:
            messages += [structs.replace(message, content=block) for block in found]
    return known_members(structs.replace(params, messages=messages), revision)


def result_for(result: CreateMessageResult, revision: Revision) -> CreateMessageResult:
    """Convert the result of a model for ``revision``.  Raises :class:`Unsayable`."""
    found = blocks_of(result)
    for block in found:
        _check_kind(block, revision)
    if not revision.sampling_tools and isinstance(result.content, list):
        if len(found) != 1:
            raise Unsayable(f"{revision.name} has one block of content in a sampling result")
        result = structs.replace(result, content=found[0])
    return known_members(result, revision)


def _check_kind(block: SamplingContent, revision: Revision) -> None:
    if isinstance(block, UnknownContent):
        raise Unsayable(f"content of the kind {block.type!r} is in no revision")
    if isinstance(block, ToolUseContent | ToolResultContent) and not revision.sampling_tools:
        raise Unsayable(f"{revision.name} has no tools in sampling")
    if isinstance(block, AudioContent) and not revision.audio_content:
        raise Unsayable(f"{revision.name} has no audio in sampling")
