"""Every error that aurea-celery raises on purpose.

::

    AureaError
    ├── ConfigurationError      a setting, URL or environment variable is missing or wrong
    ├── UsageError              token counts that cannot be true (also a ValueError)
    ├── DatabaseError
    │   ├── DatabaseUnavailable the database does not answer; trying again later may help
    │   │   └── DatabaseBusy    all of our own connections to it are in use
    │   ├── SchemaMismatch      the database has no schema of ours, an older or a newer one
    │   └── ClocksDiffer        the clocks of host and database differ, so that nothing is deleted
    ├── RowsPruned              what is asked needs rows that retention has dropped
    ├── EventConflict           what is posted has the id of something else
    ├── BudgetExceeded          a budget that is used up keeps a task or a monitored function from running
    ├── MissingPackage          a package that only some need is not installed
    ├── EmbeddedServerError     the private PostgreSQL or Valkey did not start
    └── AddressInUse            a port that a command wants to listen on is taken

Each message is one sentence that says what happened and what to do. None of them but ``BudgetExceeded``, which
somebody has asked for, is ever raised into a task or a monitored function: what runs in the user's process is behind
the guard of :mod:`aurea_celery._guard`.
"""

from __future__ import annotations


class AureaError(Exception):
    """The base of all errors of this package."""


class ConfigurationError(AureaError):
    """A setting, URL or environment variable is missing or wrong."""


class UsageError(AureaError, ValueError):
    """Token counts or costs that cannot be true, such as negative or not-a-number."""


class DatabaseError(AureaError):
    """The database cannot be used."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer; trying again later may help."""


class DatabaseBusy(DatabaseUnavailable):
    """All of our own connections to the database are in use."""


class SchemaMismatch(DatabaseError):
    """The database has no schema of ours, an older one, or one from a newer release."""


class ClocksDiffer(DatabaseError):
    """The clocks of this host and of the database differ by too much for anything to be deleted."""


class RowsPruned(AureaError):
    """What is asked needs rows that retention has dropped; their sums are kept, but not by day and job."""


class EventConflict(AureaError):
    """What is posted has the id of something else that was posted before.

    Args:
        event_id: That id.
    """

    def __init__(self, event_id: str) -> None:
        super().__init__(f"another metric was posted as {event_id}; send this one with an id of its own")
        self.event_id = event_id


class BudgetExceeded(AureaError):
    """A budget with ``--on-exceed block`` is used up, so that a task or a monitored function does not run."""


class MissingPackage(AureaError):
    """A package that only some need, such as pyarrow, is not installed."""


class EmbeddedServerError(AureaError):
    """The private PostgreSQL or Valkey server did not start or stop."""


class AddressInUse(AureaError):
    """A port that a command wants to listen on is taken by another process."""
