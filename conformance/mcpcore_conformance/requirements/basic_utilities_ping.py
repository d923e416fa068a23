"""What the specification's page basic/utilities/ping demands."""

from mcpcore_conformance.requirements.model import LEGACY, both

ROWS = (
    both.must(
        "basic/utilities/ping/answered",
        LEGACY,
        "basic/utilities/ping#behavior-requirements",
        "A ping is answered at once with an empty result.",
    ),
    both.should(
        "basic/utilities/ping/periodic",
        LEGACY,
        "basic/utilities/ping#implementation-considerations",
        "The health of a connection is checked by pings now and then.",
        application="The application decides whether and when to ping.",
    ),
    both.should(
        "basic/utilities/ping/configurable",
        LEGACY,
        "basic/utilities/ping#implementation-considerations",
        "How often is configurable.",
        application="Whoever pings decides how often.",
    ),
    both.should(
        "basic/utilities/ping/timeout-fits",
        LEGACY,
        "basic/utilities/ping#implementation-considerations",
        "The time allowed for a ping suits the network.",
        application=(
            "Every request takes its own timeout; what fits is known to the application alone."
        ),
    ),
    both.should(
        "basic/utilities/ping/not-excessive",
        LEGACY,
        "basic/utilities/ping#implementation-considerations",
        "Pings are not sent too often.",
        application="Whoever pings decides how often.",
    ),
    both.should(
        "basic/utilities/ping/timeout-is-failure",
        LEGACY,
        "basic/utilities/ping#error-handling",
        "A ping that times out is a failed connection.",
        application=(
            "A timeout is reported as such; whether to give up the connection is the "
            "application's choice."
        ),
    ),
    both.should(
        "basic/utilities/ping/failures-logged",
        LEGACY,
        "basic/utilities/ping#error-handling",
        "Failed pings are logged.",
        application="What is logged is the application's choice.",
    ),
)
