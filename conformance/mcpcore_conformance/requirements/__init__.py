"""Every MUST and SHOULD of the five revisions, one row each, with whose duty it is.

One module per page of the specification, named by the newest page that has the rule; a rule that
did not change is one row over several revisions.  Tests name the rows that they prove by
``@pytest.mark.requirement("basic/lifecycle/initialize-first")``; ``python -m
mcpcore_conformance.requirements`` reports the coverage.
"""

from mcpcore_conformance.requirements import (
    basic_authorization,
    basic_authorization_authorization_server_discovery,
    basic_authorization_client_registration,
    basic_authorization_index,
    basic_authorization_security_considerations,
    basic_index,
    basic_lifecycle,
    basic_patterns_cancellation,
    basic_patterns_index,
    basic_patterns_mrtr,
    basic_patterns_progress,
    basic_patterns_subscriptions,
    basic_security_best_practices,
    basic_transports,
    basic_transports_index,
    basic_transports_stdio,
    basic_transports_streamable_http,
    basic_utilities_cancellation,
    basic_utilities_ping,
    basic_utilities_progress,
    basic_utilities_tasks,
    basic_versioning,
    client_elicitation,
    client_roots,
    client_sampling,
    server_discover,
    server_prompts,
    server_resources,
    server_tools,
    server_utilities_caching,
    server_utilities_completion,
    server_utilities_logging,
    server_utilities_pagination,
)
from mcpcore_conformance.requirements.model import Duty, Requirement, Side, Strength

__all__ = ["REQUIREMENTS", "Duty", "Requirement", "Side", "Strength"]

REQUIREMENTS: tuple[Requirement, ...] = (
    *basic_authorization.ROWS,
    *basic_authorization_authorization_server_discovery.ROWS,
    *basic_authorization_client_registration.ROWS,
    *basic_authorization_index.ROWS,
    *basic_authorization_security_considerations.ROWS,
    *basic_index.ROWS,
    *basic_lifecycle.ROWS,
    *basic_patterns_cancellation.ROWS,
    *basic_patterns_index.ROWS,
    *basic_patterns_mrtr.ROWS,
    *basic_patterns_progress.ROWS,
    *basic_patterns_subscriptions.ROWS,
    *basic_security_best_practices.ROWS,
    *basic_transports.ROWS,
    *basic_transports_index.ROWS,
    *basic_transports_stdio.ROWS,
    *basic_transports_streamable_http.ROWS,
    *basic_utilities_cancellation.ROWS,
    *basic_utilities_ping.ROWS,
    *basic_utilities_progress.ROWS,
    *basic_utilities_tasks.ROWS,
    *basic_versioning.ROWS,
    *client_elicitation.ROWS,
    *client_roots.ROWS,
    *client_sampling.ROWS,
    *server_discover.ROWS,
    *server_prompts.ROWS,
    *server_resources.ROWS,
    *server_tools.ROWS,
    *server_utilities_caching.ROWS,
    *server_utilities_completion.ROWS,
    *server_utilities_logging.ROWS,
    *server_utilities_pagination.ROWS,
)
"""All rows, by page."""
