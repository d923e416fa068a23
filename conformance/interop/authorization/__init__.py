"""Interoperation of authorization: clients that sign in, protected servers, their issuers."""
