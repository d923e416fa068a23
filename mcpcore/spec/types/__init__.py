"""Types of the protocol: one Struct each for all revisions, in modules by theme.

Names are imported on first access, so that a program pays only for the themes it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # each is imported when it is first asked for
    from mcpcore.spec.types.base import *  # noqa: F403
    from mcpcore.spec.types.capabilities import *  # noqa: F403
    from mcpcore.spec.types.client_features import *  # noqa: F403
    from mcpcore.spec.types.content import *  # noqa: F403
    from mcpcore.spec.types.lifecycle import *  # noqa: F403
    from mcpcore.spec.types.model import Model as Model
    from mcpcore.spec.types.prompts import *  # noqa: F403
    from mcpcore.spec.types.resources import *  # noqa: F403
    from mcpcore.spec.types.skills import *  # noqa: F403
    from mcpcore.spec.types.tasks import *  # noqa: F403
    from mcpcore.spec.types.tools import *  # noqa: F403

_NAMES = {
    "base": (
        "META_CLIENT_CAPABILITIES META_CLIENT_INFO META_LOG_LEVEL META_PREFIX"
        " META_PROGRESS_TOKEN META_PROTOCOL_VERSION META_RELATED_TASK META_SERVER_INFO"
        " META_SUBSCRIPTION_ID META_APP Annotations CacheablePage CacheableResult CancelledParams"
        " Cursor EmbeddedRequest EmptyResult Icon Implementation InputRequiredResult"
        " InputResponseParams LoggingLevel Meta NotificationMeta NotificationParams"
        " NotificationSkim PaginatedParams PaginatedResult ProgressParams ProgressToken"
        " RequestId RequestMeta RequestParams Result ResultMeta ResultSkim Role Skim TRACE_KEYS"
        " TaskMetadata full_meta"
    ),
    "capabilities": (
        "ClientCapabilities ElicitationCapability ElicitationTasks PromptsCapability"
        " ResourcesCapability RootsCapability SamplingCapability SamplingTasks"
        " ServerCapabilities Settings TaskRequests TasksCapability ToolsCapability ToolTasks"
    ),
    "client_features": (
        "BooleanSchema CreateMessageParams CreateMessageResult ElicitationCompleteParams"
        " ElicitFormParams ElicitParams ElicitResult ElicitUrlParams EnumItems EnumOption"
        " LegacyTitledEnumSchema ListRootsResult ModelHint ModelPreferences NumberSchema"
        " PrimitiveSchema Root SamplingMessage StringFormat StringSchema"
        " TitledMultiSelectEnumSchema TitledSingleSelectEnumSchema ToolChoice"
        " UntitledMultiSelectEnumSchema UntitledSingleSelectEnumSchema UrlElicitationRequiredData"
    ),
    "content": (
        "AudioContent BlobResourceContents ContentBlock EmbeddedResource ImageContent"
        " ResourceContents ResourceLink SamplingContent TextContent TextResourceContents"
        " ToolResultContent ToolUseContent UnknownContent"
    ),
    "lifecycle": (
        "SEVERITY DiscoverResult InitializeParams InitializeResult LoggingMessageParams"
        " MissingRequiredClientCapabilityData SetLevelParams SubscriptionFilter"
        " SubscriptionsAcknowledgedParams SubscriptionsListenParams SubscriptionsListenResult"
        " UnsupportedProtocolVersionData"
    ),
    "model": "Model",
    "prompts": (
        "CompleteParams CompleteResult Completion CompletionArgument CompletionContext"
        " GetPromptParams GetPromptResult ListPromptsResult Prompt PromptArgument PromptMessage"
        " PromptReference ResourceReference ResourceTemplateReference"
    ),
    "resources": (
        "ListResourcesResult ListResourceTemplatesResult ReadResourceParams"
        " ReadResourceResult Resource ResourceParams ResourceTemplate ResourceUpdatedParams"
        " SubscribeParams UnsubscribeParams"
    ),
    "skills": (
        "GetSkillParams GetSkillResult ListSkillsResult ReadDirectoryParams ReadDirectoryResult"
        " Skill SkillResource"
    ),
    "tasks": (
        "TERMINAL CreateTaskResult GetTaskPayloadResult ListTasksResult RelatedTaskMetadata"
        " Task TaskParams TaskResult TaskStatus TaskStatusParams UpdateTaskParams"
    ),
    "tools": "CallToolParams CallToolResult ListToolsResult Tool ToolAnnotations ToolExecution",
}
"""Names by the module that has them."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker would take any name for one of these
    __all__ = sorted(_HOMES)

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
