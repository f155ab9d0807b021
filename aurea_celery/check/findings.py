"""What the facts mean, in sentences: the worst first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from aurea_celery.check.facts import Facts
from aurea_celery.storage.books import ProcessBooks
from aurea_celery.storage.pulse import counted, duration, executions

MOST_NAMED = 3

Kind = Literal[
    "accounted_for",
    "nobody_writes",
    "missing",
    "dropped",
    "sums_wrong",
    "broker_silent",
    "outbox_unreadable",
    "on_the_way",
]

EXIT_STATUS: dict[Kind, int] = {
    "accounted_for": 0,
    "missing": 1,
    "dropped": 1,
    "sums_wrong": 1,
    "broker_silent": 3,
    "outbox_unreadable": 3,
    "on_the_way": 3,
    "nobody_writes": 4,
}

REASONS = {
    "outbox_full": "the outbox was full",
    "memory_full": "the disk could not be written and memory was full",
    "outbox_removed": "the outbox folder was removed while in use",
    "damaged": "their lines in the outbox were damaged",
    "unreadable": "their lines in the outbox made no event",
    "interrupted_itself": "a signal handler interrupted recording",
}


class Finding(NamedTuple):
    """One thing that was found, in one sentence."""

    kind: Kind
    sentence: str


def findings(facts: Facts) -> list[Finding]:
    """What was found, the worst first; that everything is accounted for if that is all there is to say."""
    found: list[tuple[Kind, str | None]] = [
        ("nobody_writes", _nobody_writes(facts)),
        ("missing", _missing(facts)),
        ("dropped", _dropped(facts)),
        ("sums_wrong", _sums_wrong(facts)),
        ("broker_silent", _broker_silent(facts)),
        ("outbox_unreadable", _outbox_unreadable(facts)),
        ("on_the_way", _on_the_way(facts)),
    ]
    said = [Finding(kind, sentence) for kind, sentence in found if sentence]
    return said or [Finding("accounted_for", _accounted_for(facts))]


def _nobody_writes(facts: Facts) -> str | None:
    if facts.pulse.writer(facts.messages) != "silent":
        return None
    return facts.pulse.why_silent(facts.messages, facts.queue)


def _missing(facts: Facts) -> str | None:
    missing = [one for one in facts.processes if facts.missing_of(one)]
    if not missing or facts.held is None:
        return None
    said = executions(_missing_count(facts), "is missing", "are missing")
    return f"{said}, captured on host {_names(missing)}: neither in {facts.queue} nor in the outbox {facts.held.root}"


def _dropped(facts: Facts) -> str | None:
    if not facts.books.dropped:
        return None
    said = executions(facts.books.dropped, "was dropped", "were dropped")
    reasons = sorted(
        (REASONS.get(reason, reason), lost) for reason, lost in facts.books.dropped_by_reason.items() if lost
    )
    parts = [words if len(reasons) == 1 else f"{lost:,} because {words}" for words, lost in reasons]
    return f"{said} on host {_names([one for one in facts.processes if one.dropped])}: {', '.join(parts)}"


def _sums_wrong(facts: Facts) -> str | None:
    tables = [
        counted(count, f"sum of {table} differs from its rows", f"sums of {table} differ from their rows")
        for table, count in sorted(facts.rollup_differences.items())
    ]
    return f"{', '.join(tables)}; make them anew: aurea db rebuild" if tables else None


def _broker_silent(facts: Facts) -> str | None:
    if facts.broker is None or facts.broker.messages is not None:
        return None
    return f"The broker {facts.broker.url} does not answer, so that nobody knows what waits there"


def _outbox_unreadable(facts: Facts) -> str | None:
    if facts.held is None or not facts.held.unreadable:
        return None
    said = counted(facts.held.unreadable, "outbox cannot be read", "outboxes cannot be read")
    return f"{said} in {facts.held.root}; run this as the user who owns them"


def _on_the_way(facts: Facts) -> str | None:
    """What is not written and not missing; what is sent and not committed is in an outbox and in the queue."""
    places = [place for place in (_in_the_queue(facts), _in_the_outbox(facts), _with_others(facts)) if place]
    count = facts.books.pending - _missing_count(facts)
    if count:
        return f"{executions(count, 'is on its way', 'are on their way')}: {', '.join(places)}"
    if facts.messages:
        return f"Something is on its way: {places[0]}"
    return None


def _in_the_queue(facts: Facts) -> str | None:
    return f"{counted(facts.messages, 'message waits', 'messages wait')} in {facts.queue}" if facts.messages else None


def _in_the_outbox(facts: Facts) -> str | None:
    if facts.held is None or not facts.held.count:
        return None
    age = "" if facts.held.oldest_seconds is None else f", the oldest for {duration(facts.held.oldest_seconds)}"
    return f"{facts.held.count:,} in the outbox of this host{age}"


def _with_others(facts: Facts) -> str | None:
    """Of what is in no outbox of this host, whose it is."""
    if facts.broker is None:
        return "to see where, name the app: celery -A yourapp aurea check"
    held = facts.held.events if facts.held else {}
    counts = [one.pending - held.get(one.source_id, 0) - facts.missing_of(one) for one in facts.processes]
    others = [one for one, count in zip(facts.processes, counts, strict=True) if count]
    return f"{sum(counts):,} of host {_names(others)} in no outbox of this host" if others else None


def _accounted_for(facts: Facts) -> str:
    books = facts.books
    if not books.captured:
        return "Nothing has been captured yet"
    rejected = f", {books.rejected:,} rejected (see the table metrics_rejected)" if books.rejected else ""
    captured = executions(books.captured, "captured", "captured")
    return f"Everything is accounted for: {captured}, {books.written:,} written{rejected}"


def _missing_count(facts: Facts) -> int:
    return sum(facts.missing_of(process) for process in facts.processes)


def _names(processes: Collection[ProcessBooks]) -> str:
    names = [f"{process.host} (pid {process.pid})" for process in processes]
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")
