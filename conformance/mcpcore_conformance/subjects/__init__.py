"""Programs of this project as subjects of the kit: servers in this process, the core alone."""
