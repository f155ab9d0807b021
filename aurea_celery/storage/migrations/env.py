"""Run by Alembic: migrations use the connection and transaction of :mod:`aurea_celery.storage.migrate`."""

from alembic import context

from aurea_celery.storage.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
