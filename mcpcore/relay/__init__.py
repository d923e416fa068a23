"""A relay between one downstream and any number of upstream servers, without I/O."""
