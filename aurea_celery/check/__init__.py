"""``aurea check``: is every execution accounted for, and if not, where is it?

The facts are gathered along the way of an event, outbox, queue, database: what moves on meanwhile is seen where it has
come to, and is never taken for missing.
"""
