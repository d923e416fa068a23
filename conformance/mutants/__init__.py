"""Programs with one thing broken, to show that each case fails when it should.

A mutant is a row: its name and the cases that notice it, then what is broken and by which fault:
``table.server("slug", "case").does("Has no time.", results_of("ping", drop("time")))``.
Operations on members are in :mod:`conformance.mutants.edits`, faults made of them in ``faults``,
``http_faults``, ``lists`` and ``questions``, those of clients in ``client_faults`` and
``client_sign_in_faults``.  A class is there for what none of them can do, such as remembering what
came before; its row decorates it.
"""
