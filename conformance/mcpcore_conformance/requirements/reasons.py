"""Why no test of ours proves a rule: reasons that several rows share."""

OWN_DOCUMENT = "The document that describes a client is written and hosted by the application."
AUTHORIZATION_SERVER = "Addressed to authorization servers."
OWN_AUTHORIZATION_SERVER = (
    "Addressed to servers that are their own authorization server: those of the library name one "
    "that stands beside them, as later revisions have it."
)
NO_PROXY = "Addressed to proxies of authorization servers, of which the library has none."
OAUTH_FLOW = (
    "It names other documents as a whole; what the specification says of them has rows of its own."
)
CHOSEN_KEYS = "Keys beyond those of the protocol are chosen by the application and passed through."
ICON_RENDERING = "Icons are fetched and shown by the application."
USER_INTERFACE = "User interfaces belong to the application."
INTERMEDIARIES = "Addressed to intermediaries."
AUTHOR_OF_QUESTIONS = "What is asked for, and where a URL leads, is the author's choice."
USER_STATE = "User state and user identity are kept by the application."
CALLBACK_RATE = "The callback decides how often it asks its user or model."
DEPRECATED_FEATURE = "Advice to authors on a deprecated feature; the engine keeps serving it."
ROOTS_OF_THE_USER = "Roots are chosen and guarded by the application."
MODEL_CALLS = "The model is called by the application's callback."
PERMISSIONS = "Only the application knows who may do what; the handler is given the principal."
CHOSEN_SCOPES = "Scopes are chosen by the server's author."
CHOSEN_SCHEMES = "Schemes are chosen by the server's author."
LOCAL_SERVERS = "How a local server is reached is chosen by whoever runs it."
LOG_CONTENTS = "The contents of log messages are written by the handler."
