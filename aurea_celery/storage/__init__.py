"""The truth in PostgreSQL: schema, migrations, partitions, write, rollups, queries."""
