"""``make demo``: talks of ours with the official SDK, then the conformance kit on both sides."""
