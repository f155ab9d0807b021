"""Getting events from the host's processes to the writer's queue: outbox, publisher, broker."""
