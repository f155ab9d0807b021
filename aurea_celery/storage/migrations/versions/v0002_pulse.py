"""What /health and aurea check must know of each process: how its events come, how old they are, and what is missing."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
ALTER TABLE metrics_sources
    ADD COLUMN lost BIGINT DEFAULT 0 NOT NULL,
    ADD COLUMN through TEXT DEFAULT 'queue' NOT NULL,
    ADD COLUMN last_event_at TIMESTAMP WITH TIME ZONE,
    ADD COLUMN open_since TIMESTAMP WITH TIME ZONE,
    ADD CONSTRAINT metrics_sources_through_check CHECK (through IN ('queue', 'api'));

COMMENT ON COLUMN metrics_sources.lost IS 'the sum of dropped';

COMMENT ON COLUMN metrics_sources.last_seen_at IS 'when its last batch was written';

COMMENT ON COLUMN metrics_sources.through IS 'how its events come here';

COMMENT ON COLUMN metrics_sources.last_event_at IS 'end of the newest event of its last batch; null if none is new';

COMMENT ON COLUMN metrics_sources.open_since IS 'since when, without a break, some of captured is missing';

UPDATE metrics_sources SET lost = (SELECT sum(value::bigint) FROM jsonb_each_text(dropped)) WHERE dropped <> '{}';

UPDATE metrics_sources SET open_since = last_seen_at WHERE captured > written + rejected + lost;
"""


def upgrade() -> None:
    """Add the columns."""
    op.get_bind().exec_driver_sql(STATEMENTS)


def downgrade() -> None:
    """Remove them."""
    columns = ("lost", "through", "last_event_at", "open_since")
    op.execute(f"ALTER TABLE metrics_sources {', '.join(f'DROP COLUMN {column}' for column in columns)}")
    op.execute("COMMENT ON COLUMN metrics_sources.last_seen_at IS NULL")
