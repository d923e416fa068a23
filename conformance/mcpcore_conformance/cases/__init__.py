"""The cases, one module per page of the specification."""
