"""Model Context Protocol: the engine, and servers, clients, gateways and relays around it.

The engine does no I/O: bytes go in, events and bytes come out.  It (:class:`Peer`,
:class:`Config`, ``events``) is imported at once, all else when it is first asked for: ``import
mcpcore`` loads msgspec, and no event loop or socket.

Types of content and capabilities are in :mod:`mcpcore.types`, all exceptions in
:mod:`mcpcore.errors`, and the relay without I/O, whose settings are :class:`RelaySettings`, is
:class:`mcpcore.relay.relay.Relay`.  What needs an extra that is not installed is left out of
``dir()``; asked for by its name, it raises an ImportError that says what to install.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mcpcore.engine import MAIN as MAIN
from mcpcore.engine import Config as Config
from mcpcore.engine import Endpoint as Endpoint
from mcpcore.engine import EndReason as EndReason
from mcpcore.engine import Fault as Fault
from mcpcore.engine import FaultKind as FaultKind
from mcpcore.engine import FrameKind as FrameKind
from mcpcore.engine import InputRequest as InputRequest
from mcpcore.engine import Limits as Limits
from mcpcore.engine import Mirror as Mirror
from mcpcore.engine import Negotiation as Negotiation
from mcpcore.engine import Peer as Peer
from mcpcore.engine import Role as Role
from mcpcore.engine import Transmit as Transmit
from mcpcore.engine import events as events
from mcpcore.engine.bodies import relayable as relayable
from mcpcore.engine.config import ANY_EXTENSION as ANY_EXTENSION
from mcpcore.engine.config import DEFAULT_TIMEOUT as DEFAULT_TIMEOUT
from mcpcore.spec.errors import CapabilityMissing as CapabilityMissing
from mcpcore.spec.errors import ErrorData as ErrorData
from mcpcore.spec.errors import LocalError as LocalError
from mcpcore.spec.errors import LocalProtocolError as LocalProtocolError
from mcpcore.spec.errors import McpError as McpError
from mcpcore.spec.errors import ToolFailed as ToolFailed
from mcpcore.spec.revisions import parse_revisions as parse_revisions
from mcpcore.spec.types.base import Implementation as Implementation
from mcpcore.spec.types.capabilities import ClientCapabilities as ClientCapabilities
from mcpcore.spec.types.capabilities import ServerCapabilities as ServerCapabilities
from mcpcore.wire.message import Message as Message
from mcpcore.wire.message import decode as decode

if TYPE_CHECKING:  # each is imported when it is first asked for
    from mcpcore.auth.api_keys import ApiKey as ApiKey
    from mcpcore.auth.api_keys import digest_of as digest_of
    from mcpcore.auth.api_keys import make_key as make_key
    from mcpcore.auth.grants import ClientAuth as ClientAuth
    from mcpcore.auth.grants import ClientIdentity as ClientIdentity
    from mcpcore.auth.grants import SigningKey as SigningKey
    from mcpcore.auth.keysets import KeySetLimits as KeySetLimits
    from mcpcore.auth.proofs import ProofRules as ProofRules
    from mcpcore.auth.proofs import ReplayWindow as ReplayWindow
    from mcpcore.auth.resource_server import AuthEvent as AuthEvent
    from mcpcore.auth.resource_server import Dpop as Dpop
    from mcpcore.auth.resource_server import Issuer as Issuer
    from mcpcore.auth.settings import AssertionGrant as AssertionGrant
    from mcpcore.auth.settings import AuthorizationSettings as AuthorizationSettings
    from mcpcore.auth.settings import ClientCredentialsGrant as ClientCredentialsGrant
    from mcpcore.auth.settings import CodeGrant as CodeGrant
    from mcpcore.auth.settings import DpopKey as DpopKey
    from mcpcore.auth.settings import EnterpriseGrant as EnterpriseGrant
    from mcpcore.auth.upstream import Subject as Subject
    from mcpcore.auth.upstream import Upstream as Upstream
    from mcpcore.engine.lifecycle import SessionState as SessionState
    from mcpcore.engine.reconnection import ConnectionEvent as ConnectionEvent
    from mcpcore.engine.reconnection import ConnectionLost as ConnectionLost
    from mcpcore.engine.reconnection import Reconnected as Reconnected
    from mcpcore.engine.reconnection import Reconnecting as Reconnecting
    from mcpcore.engine.reconnection import ReconnectingGivenUp as ReconnectingGivenUp
    from mcpcore.engine.reconnection import ReconnectSettings as ReconnectSettings
    from mcpcore.engine.seal import request_binding as request_binding
    from mcpcore.errors import AuthorizationError as AuthorizationError
    from mcpcore.errors import BadConfig as BadConfig
    from mcpcore.errors import BadPattern as BadPattern
    from mcpcore.errors import BadTarget as BadTarget
    from mcpcore.errors import CallFailed as CallFailed
    from mcpcore.errors import CircuitOpen as CircuitOpen
    from mcpcore.errors import ConnectionClosed as ConnectionClosed
    from mcpcore.errors import Forbidden as Forbidden
    from mcpcore.errors import InputUnavailable as InputUnavailable
    from mcpcore.errors import LifespanError as LifespanError
    from mcpcore.errors import LinkError as LinkError
    from mcpcore.errors import NegotiationError as NegotiationError
    from mcpcore.errors import PeerError as PeerError
    from mcpcore.errors import PromptError as PromptError
    from mcpcore.errors import RequestTimeout as RequestTimeout
    from mcpcore.errors import ResourceNotFound as ResourceNotFound
    from mcpcore.errors import ServerUnavailable as ServerUnavailable
    from mcpcore.errors import SkillRefused as SkillRefused
    from mcpcore.errors import ToolError as ToolError
    from mcpcore.http.client.call import DownloadProgress as DownloadProgress
    from mcpcore.http.client.call import Recovery as Recovery
    from mcpcore.http.client.call import StreamInterrupted as StreamInterrupted
    from mcpcore.http.client.call import StreamReopened as StreamReopened
    from mcpcore.http.client.challenges import Unauthorized as Unauthorized
    from mcpcore.http.client.client import HttpClient as HttpClient
    from mcpcore.http.messages import HttpAbort as HttpAbort
    from mcpcore.http.messages import HttpChunk as HttpChunk
    from mcpcore.http.messages import HttpEnd as HttpEnd
    from mcpcore.http.messages import HttpHead as HttpHead
    from mcpcore.http.messages import HttpReply as HttpReply
    from mcpcore.http.messages import HttpRequest as HttpRequest
    from mcpcore.http.messages import HttpSend as HttpSend
    from mcpcore.http.principals import Authenticate as Authenticate
    from mcpcore.http.principals import ClientCertificate as ClientCertificate
    from mcpcore.http.principals import Principal as Principal
    from mcpcore.http.principals import Refusal as Refusal
    from mcpcore.http.principals import bearer_token as bearer_token
    from mcpcore.http.server.exchange import ExchangeEnded as ExchangeEnded
    from mcpcore.http.server.server import HttpServer as HttpServer
    from mcpcore.http.server.sessions import SessionClosed as SessionClosed
    from mcpcore.http.server.sessions import SessionOpened as SessionOpened
    from mcpcore.http.settings import HttpClientSettings as HttpClientSettings
    from mcpcore.http.settings import HttpSettings as HttpSettings
    from mcpcore.http.settings import SsePaths as SsePaths
    from mcpcore.http.settings import SseUse as SseUse
    from mcpcore.policy.balancing import BalanceSettings as BalanceSettings
    from mcpcore.policy.breaker import BreakerSettings as BreakerSettings
    from mcpcore.policy.differences import compare_servers as compare_servers
    from mcpcore.policy.health import HealthSettings as HealthSettings
    from mcpcore.policy.rates import Activity as Activity
    from mcpcore.policy.rates import Rate as Rate
    from mcpcore.policy.rates import RateLimiter as RateLimiter
    from mcpcore.policy.rates import RateLimits as RateLimits
    from mcpcore.policy.retrying import RetrySettings as RetrySettings
    from mcpcore.policy.suspicion import Suspicion as Suspicion
    from mcpcore.policy.suspicion import Suspicious as Suspicious
    from mcpcore.policy.trust import Notice as Notice
    from mcpcore.policy.trust import Reaction as Reaction
    from mcpcore.policy.trust import Treatment as Treatment
    from mcpcore.policy.trust import TrustSettings as TrustSettings
    from mcpcore.relay.names import Naming as Naming
    from mcpcore.relay.settings import RelaySettings as RelaySettings
    from mcpcore.service import Audio as Audio
    from mcpcore.service import Embedded as Embedded
    from mcpcore.service import Image as Image
    from mcpcore.service import Server as Server
    from mcpcore.service import Service as Service
    from mcpcore.service import Validator as Validator
    from mcpcore.service import assistant as assistant
    from mcpcore.service import mirrored as mirrored
    from mcpcore.service import user as user
    from mcpcore.service.apps import ToolApp as ToolApp
    from mcpcore.service.task_settings import TaskSettings as TaskSettings
    from mcpcore.service.tasks import TaskTable as TaskTable
    from mcpcore.wire.sse import SseDecoder as SseDecoder
    from mcpcore_transports.adapters import adapt as adapt
    from mcpcore_transports.auth.browser import BrowserSignIn as BrowserSignIn
    from mcpcore_transports.auth.browser import PastedSignIn as PastedSignIn
    from mcpcore_transports.auth.browser import SignIn as SignIn
    from mcpcore_transports.auth.environment import environment_secret as environment_secret
    from mcpcore_transports.auth.exchange import UpstreamTokens as UpstreamTokens
    from mcpcore_transports.auth.file_store import FileTokens as FileTokens
    from mcpcore_transports.auth.keyring_store import KeyringTokens as KeyringTokens
    from mcpcore_transports.auth.resource_server import ResourceServer as ResourceServer
    from mcpcore_transports.auth.schemes import AnyOf as AnyOf
    from mcpcore_transports.auth.schemes import ApiKeyScheme as ApiKeyScheme
    from mcpcore_transports.auth.schemes import BehindProxy as BehindProxy
    from mcpcore_transports.auth.schemes import CertificateRecord as CertificateRecord
    from mcpcore_transports.auth.schemes import CertificateScheme as CertificateScheme
    from mcpcore_transports.auth.signing import PrivateKey as PrivateKey
    from mcpcore_transports.auth.stores import MemoryTokens as MemoryTokens
    from mcpcore_transports.auth.stores import TokenStore as TokenStore
    from mcpcore_transports.client.cache import EraCache as EraCache
    from mcpcore_transports.client.cache import ResultCache as ResultCache
    from mcpcore_transports.client.callbacks import CallbackContext as CallbackContext
    from mcpcore_transports.client.callbacks import Callbacks as Callbacks
    from mcpcore_transports.client.client import Client as Client
    from mcpcore_transports.client.client import connect as connect
    from mcpcore_transports.client.config import add_server as add_server
    from mcpcore_transports.client.config import find_config as find_config
    from mcpcore_transports.client.config import load_targets as load_targets
    from mcpcore_transports.client.config import read_config as read_config
    from mcpcore_transports.client.core import ClientSettings as ClientSettings
    from mcpcore_transports.client.guarding import guard_answers as guard_answers
    from mcpcore_transports.client.guarding import guard_server as guard_server
    from mcpcore_transports.client.managed import AvailabilityChanged as AvailabilityChanged
    from mcpcore_transports.client.managed import ServerOptions as ServerOptions
    from mcpcore_transports.client.managed import TargetHealth as TargetHealth
    from mcpcore_transports.client.middleware import Outcome as Outcome
    from mcpcore_transports.client.middleware import OutgoingRequest as OutgoingRequest
    from mcpcore_transports.client.pins import read_description as read_description
    from mcpcore_transports.client.pins import read_pins as read_pins
    from mcpcore_transports.client.policies import break_circuit as break_circuit
    from mcpcore_transports.client.policies import retry_requests as retry_requests
    from mcpcore_transports.client.request_log import log_incoming as log_incoming
    from mcpcore_transports.client.request_log import log_outgoing as log_outgoing
    from mcpcore_transports.client.servers import MergedList as MergedList
    from mcpcore_transports.client.servers import ServerEvent as ServerEvent
    from mcpcore_transports.client.servers import Servers as Servers
    from mcpcore_transports.client.servers import ServersSettings as ServersSettings
    from mcpcore_transports.client.servers import connect_all as connect_all
    from mcpcore_transports.client.skills import LoadedSkill as LoadedSkill
    from mcpcore_transports.client.tasks import TaskOptions as TaskOptions
    from mcpcore_transports.gateway.gateway import Gateway as Gateway
    from mcpcore_transports.gateway.settings import GatewaySettings as GatewaySettings
    from mcpcore_transports.gateway.settings import SignInSettings as SignInSettings
    from mcpcore_transports.http.client.adapter import HttpClientLike as HttpClientLike
    from mcpcore_transports.http.client.authorization import BearerToken as BearerToken
    from mcpcore_transports.http.client.proxies import parse_proxy as parse_proxy
    from mcpcore_transports.http.server.log import log_judgement as log_judgement
    from mcpcore_transports.http1.settings import HttpClientLinkSettings as HttpClientLinkSettings
    from mcpcore_transports.http1.settings import HttpServerSettings as HttpServerSettings
    from mcpcore_transports.http1.settings import StoreLinkSettings as StoreLinkSettings
    from mcpcore_transports.link import STREAM_ERRORS as STREAM_ERRORS
    from mcpcore_transports.link import App as App
    from mcpcore_transports.link import clock as clock
    from mcpcore_transports.memory import MemoryPair as MemoryPair
    from mcpcore_transports.running.middleware import AnsweringSteps as AnsweringSteps
    from mcpcore_transports.running.middleware import CallNext as CallNext
    from mcpcore_transports.running.middleware import Steps as Steps
    from mcpcore_transports.schema import SchemaLimits as SchemaLimits
    from mcpcore_transports.schema import compile_schema as compile_schema
    from mcpcore_transports.serve.asgi import AsgiApp as AsgiApp
    from mcpcore_transports.serve.asgi import asgi_app as asgi_app
    from mcpcore_transports.serve.endpoint import HttpEndpoint as HttpEndpoint
    from mcpcore_transports.serve.endpoint import http_request as http_request
    from mcpcore_transports.serve.serve import Accept as Accept
    from mcpcore_transports.serve.serve import ServeSettings as ServeSettings
    from mcpcore_transports.serve.serve import run as run
    from mcpcore_transports.serve.serve import serve as serve
    from mcpcore_transports.serve.wsgi import WsgiApp as WsgiApp
    from mcpcore_transports.serve.wsgi import wsgi_app as wsgi_app
    from mcpcore_transports.server.composing import Outcomes as Outcomes
    from mcpcore_transports.server.composing import branch as branch
    from mcpcore_transports.server.composing import parallel as parallel
    from mcpcore_transports.server.composing import pipeline as pipeline
    from mcpcore_transports.server.context import Context as Context
    from mcpcore_transports.server.elicitation import Elicit as Elicit
    from mcpcore_transports.server.elicitation import Elicited as Elicited
    from mcpcore_transports.server.elicitation import ElicitUrl as ElicitUrl
    from mcpcore_transports.server.elicitation import Input as Input
    from mcpcore_transports.server.elicitation import ListRoots as ListRoots
    from mcpcore_transports.server.elicitation import Sample as Sample
    from mcpcore_transports.server.logs import JsonLines as JsonLines
    from mcpcore_transports.server.logs import label_logs as label_logs
    from mcpcore_transports.server.middleware import Answer as Answer
    from mcpcore_transports.server.notifications import NotificationContext as NotificationContext
    from mcpcore_transports.server.seal import SealKey as SealKey
    from mcpcore_transports.server.seal import SealSettings as SealSettings
    from mcpcore_transports.server.seal import make_seal as make_seal
    from mcpcore_transports.server.settings import RuntimeSettings as RuntimeSettings
    from mcpcore_transports.server.skill_files import read_skills as read_skills
    from mcpcore_transports.stores.base import Store as Store
    from mcpcore_transports.stores.base import StoreSettings as StoreSettings
    from mcpcore_transports.stores.base import open_store as open_store
    from mcpcore_transports.stores.redis_rates import RedisRateLimits as RedisRateLimits
    from mcpcore_transports.stores.sqlite import MemoryStore as MemoryStore
    from mcpcore_transports.stream.connection import StreamConnection as StreamConnection
    from mcpcore_transports.stream.settings import Caller as Caller
    from mcpcore_transports.stream.settings import ConnectionSettings as ConnectionSettings
    from mcpcore_transports.stream.settings import ProcessSettings as ProcessSettings
    from mcpcore_transports.stream.settings import SocketSettings as SocketSettings
    from mcpcore_transports.stream.settings import StdioSettings as StdioSettings
    from mcpcore_transports.targets import CustomTarget as CustomTarget
    from mcpcore_transports.targets import HttpTarget as HttpTarget
    from mcpcore_transports.targets import MemoryTarget as MemoryTarget
    from mcpcore_transports.targets import Replicas as Replicas
    from mcpcore_transports.targets import SseTarget as SseTarget
    from mcpcore_transports.targets import StdioTarget as StdioTarget
    from mcpcore_transports.targets import TcpTarget as TcpTarget
    from mcpcore_transports.targets import UnixTarget as UnixTarget
    from mcpcore_transports.targets import WebSocketTarget as WebSocketTarget
    from mcpcore_transports.targets import parse_target as parse_target
    from mcpcore_transports.telemetry.prometheus import PrometheusMeters as PrometheusMeters
    from mcpcore_transports.telemetry.requests import network_attributes as network_attributes
    from mcpcore_transports.telemetry.requests import observe_answers as observe_answers
    from mcpcore_transports.telemetry.requests import observe_requests as observe_requests
    from mcpcore_transports.telemetry.sessions import observe_circuits as observe_circuits
    from mcpcore_transports.telemetry.sessions import observe_sessions as observe_sessions
    from mcpcore_transports.tls import client_tls as client_tls
    from mcpcore_transports.tls import server_tls as server_tls
    from mcpcore_transports.tracing.tracing import HttpTrace as HttpTrace
    from mcpcore_transports.tracing.tracing import Trace as Trace
    from mcpcore_transports.tracing.tracing import TraceSettings as TraceSettings
    from mcpcore_transports.websocket.settings import DeflateSettings as DeflateSettings
    from mcpcore_transports.websocket.settings import WebSocketSettings as WebSocketSettings

_LATER = {
    "mcpcore.auth.api_keys": "ApiKey digest_of make_key",
    "mcpcore.auth.grants": "ClientAuth ClientIdentity SigningKey",
    "mcpcore.auth.keysets": "KeySetLimits",
    "mcpcore.auth.proofs": "ProofRules ReplayWindow",
    "mcpcore.auth.resource_server": "AuthEvent Dpop Issuer",
    "mcpcore.auth.settings": (
        "AssertionGrant AuthorizationSettings ClientCredentialsGrant CodeGrant DpopKey "
        "EnterpriseGrant"
    ),
    "mcpcore.auth.upstream": "Subject Upstream",
    "mcpcore.engine.lifecycle": "SessionState",
    "mcpcore.engine.reconnection": (
        "ConnectionEvent ConnectionLost ReconnectSettings Reconnected Reconnecting "
        "ReconnectingGivenUp"
    ),
    "mcpcore.engine.seal": "request_binding",
    "mcpcore.errors": (
        "AuthorizationError BadConfig BadPattern BadTarget CallFailed CircuitOpen "
        "ConnectionClosed Forbidden InputUnavailable LifespanError LinkError NegotiationError "
        "PeerError PromptError RequestTimeout ResourceNotFound ServerUnavailable SkillRefused "
        "ToolError"
    ),
    "mcpcore.http.client.call": "DownloadProgress Recovery StreamInterrupted StreamReopened",
    "mcpcore.http.client.challenges": "Unauthorized",
    "mcpcore.http.client.client": "HttpClient",
    "mcpcore.http.messages": "HttpAbort HttpChunk HttpEnd HttpHead HttpReply HttpRequest HttpSend",
    "mcpcore.http.principals": "Authenticate ClientCertificate Principal Refusal bearer_token",
    "mcpcore.http.server.exchange": "ExchangeEnded",
    "mcpcore.http.server.server": "HttpServer",
    "mcpcore.http.server.sessions": "SessionClosed SessionOpened",
    "mcpcore.http.settings": "HttpClientSettings HttpSettings SsePaths SseUse",
    "mcpcore.policy.balancing": "BalanceSettings",
    "mcpcore.policy.breaker": "BreakerSettings",
    "mcpcore.policy.differences": "compare_servers",
    "mcpcore.policy.health": "HealthSettings",
    "mcpcore.policy.rates": "Activity Rate RateLimiter RateLimits",
    "mcpcore.policy.retrying": "RetrySettings",
    "mcpcore.policy.suspicion": "Suspicion Suspicious",
    "mcpcore.policy.trust": "Notice Reaction Treatment TrustSettings",
    "mcpcore.relay.names": "Naming",
    "mcpcore.relay.settings": "RelaySettings",
    "mcpcore.service": "Audio Embedded Image Server Service Validator assistant mirrored user",
    "mcpcore.service.apps": "ToolApp",
    "mcpcore.service.task_settings": "TaskSettings",
    "mcpcore.service.tasks": "TaskTable",
    "mcpcore.wire.sse": "SseDecoder",
    "mcpcore_transports.adapters": "adapt",
    "mcpcore_transports.auth.browser": "BrowserSignIn PastedSignIn SignIn",
    "mcpcore_transports.auth.environment": "environment_secret",
    "mcpcore_transports.auth.exchange": "UpstreamTokens",
    "mcpcore_transports.auth.file_store": "FileTokens",
    "mcpcore_transports.auth.keyring_store": "KeyringTokens",
    "mcpcore_transports.auth.resource_server": "ResourceServer",
    "mcpcore_transports.auth.schemes": (
        "AnyOf ApiKeyScheme BehindProxy CertificateRecord CertificateScheme"
    ),
    "mcpcore_transports.auth.signing": "PrivateKey",
    "mcpcore_transports.auth.stores": "MemoryTokens TokenStore",
    "mcpcore_transports.client.cache": "EraCache ResultCache",
    "mcpcore_transports.client.callbacks": "CallbackContext Callbacks",
    "mcpcore_transports.client.client": "Client connect",
    "mcpcore_transports.client.config": "add_server find_config load_targets read_config",
    "mcpcore_transports.client.core": "ClientSettings",
    "mcpcore_transports.client.guarding": "guard_answers guard_server",
    "mcpcore_transports.client.managed": "AvailabilityChanged ServerOptions TargetHealth",
    "mcpcore_transports.client.middleware": "Outcome OutgoingRequest",
    "mcpcore_transports.client.pins": "read_description read_pins",
    "mcpcore_transports.client.policies": "break_circuit retry_requests",
    "mcpcore_transports.client.request_log": "log_incoming log_outgoing",
    "mcpcore_transports.client.servers": (
        "MergedList ServerEvent Servers ServersSettings connect_all"
    ),
    "mcpcore_transports.client.skills": "LoadedSkill",
    "mcpcore_transports.client.tasks": "TaskOptions",
    "mcpcore_transports.gateway.gateway": "Gateway",
    "mcpcore_transports.gateway.settings": "GatewaySettings SignInSettings",
    "mcpcore_transports.http.client.adapter": "HttpClientLike",
    "mcpcore_transports.http.client.authorization": "BearerToken",
    "mcpcore_transports.http.client.proxies": "parse_proxy",
    "mcpcore_transports.http.server.log": "log_judgement",
    "mcpcore_transports.http1.settings": (
        "HttpClientLinkSettings HttpServerSettings StoreLinkSettings"
    ),
    "mcpcore_transports.link": "App STREAM_ERRORS clock",
    "mcpcore_transports.memory": "MemoryPair",
    "mcpcore_transports.running.middleware": "AnsweringSteps CallNext Steps",
    "mcpcore_transports.schema": "SchemaLimits compile_schema",
    "mcpcore_transports.serve.asgi": "AsgiApp asgi_app",
    "mcpcore_transports.serve.endpoint": "HttpEndpoint http_request",
    "mcpcore_transports.serve.serve": "Accept ServeSettings run serve",
    "mcpcore_transports.serve.wsgi": "WsgiApp wsgi_app",
    "mcpcore_transports.server.composing": "Outcomes branch parallel pipeline",
    "mcpcore_transports.server.context": "Context",
    "mcpcore_transports.server.elicitation": "Elicit ElicitUrl Elicited Input ListRoots Sample",
    "mcpcore_transports.server.logs": "JsonLines label_logs",
    "mcpcore_transports.server.middleware": "Answer",
    "mcpcore_transports.server.notifications": "NotificationContext",
    "mcpcore_transports.server.seal": "SealKey SealSettings make_seal",
    "mcpcore_transports.server.settings": "RuntimeSettings",
    "mcpcore_transports.server.skill_files": "read_skills",
    "mcpcore_transports.stores.base": "Store StoreSettings open_store",
    "mcpcore_transports.stores.redis_rates": "RedisRateLimits",
    "mcpcore_transports.stores.sqlite": "MemoryStore",
    "mcpcore_transports.stream.connection": "StreamConnection",
    "mcpcore_transports.stream.settings": (
        "Caller ProcessSettings ConnectionSettings SocketSettings StdioSettings"
    ),
    "mcpcore_transports.targets": (
        "CustomTarget HttpTarget MemoryTarget Replicas SseTarget StdioTarget TcpTarget "
        "UnixTarget WebSocketTarget parse_target"
    ),
    "mcpcore_transports.telemetry.prometheus": "PrometheusMeters",
    "mcpcore_transports.telemetry.requests": "network_attributes observe_answers observe_requests",
    "mcpcore_transports.telemetry.sessions": "observe_circuits observe_sessions",
    "mcpcore_transports.tls": "client_tls server_tls",
    "mcpcore_transports.tracing.tracing": "HttpTrace Trace TraceSettings",
    "mcpcore_transports.websocket.settings": "DeflateSettings WebSocketSettings",
}
"""Modules that are imported when one of their names is first asked for."""
_HOMES = {name: module for module, names in _LATER.items() for name in names.split()}
_NEEDS = {
    "mcpcore_transports": ("anyio", "h11", "wsproto"),
    "mcpcore_transports.auth.signing": ("cryptography",),
    "mcpcore_transports.schema": ("jsonschema", "re2"),
    "mcpcore_transports.telemetry.prometheus": ("opentelemetry", "prometheus_client"),
    "mcpcore_transports.telemetry.requests": ("opentelemetry",),
    "mcpcore_transports.telemetry.sessions": ("opentelemetry",),
}
"""Packages and modules that need libraries which may not be installed."""
_INNER = {"TYPE_CHECKING", "Any", "find_spec", "import_module", "engine", "spec", "wire"}
_AT_ONCE = {name for name in globals() if name[0] != "_"} - _INNER

if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            return __dir__()
        if name == "types":
            return import_module("mcpcore.types")
        if name not in _HOMES:
            raise AttributeError(f"module 'mcpcore' has no attribute {name!r}")
        try:
            found = getattr(import_module(_HOMES[name]), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"mcpcore.{name} needs {error.name}, which is not installed: pip install mcpcore"
            ) from error
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    lacking = tuple(
        place
        for place, libraries in _NEEDS.items()
        if not all(find_spec(library) for library in libraries)
    )
    later = {name for name, module in _HOMES.items() if not module.startswith(lacking)}
    return sorted(_AT_ONCE | later)
