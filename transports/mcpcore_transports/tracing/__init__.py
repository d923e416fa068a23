"""Recording of traffic as a trace."""
