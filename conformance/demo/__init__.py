"""``make demo``: talks with the official SDK, sign-ins, then the conformance kit on both sides."""
