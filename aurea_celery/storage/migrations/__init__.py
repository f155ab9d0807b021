"""Alembic's environment and revisions; they ship in the wheel."""
