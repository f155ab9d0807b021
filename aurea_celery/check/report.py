"""What ``aurea check`` prints: the findings in sentences, then the books as a table; or all of it as JSON."""

from __future__ import annotations

import msgspec

from aurea_celery.check.facts import Facts, Held
from aurea_celery.check.findings import EXIT_STATUS, findings
from aurea_celery.storage.books import Books, ProcessBooks
from aurea_celery.storage.pulse import counted

COLUMNS = ("captured", "published", "written", "rejected", "dropped", "pending", "duplicates")
ALL = "all processes"


def exit_status(facts: Facts) -> int:
    """0 if everything is accounted for, else the status of the worst that was found."""
    return EXIT_STATUS[findings(facts)[0].kind]


def as_text(facts: Facts, *, by_process: bool) -> str:
    """For people: what was found, one sentence a line, the worst first; then the books."""
    lines = [f"{finding.sentence}." for finding in findings(facts)]
    left_out = {"excluded": facts.books.excluded, "sampled out": facts.books.sampled_out}
    lines += [f"Left out by the settings: {count:,} {how}." for how, count in left_out.items() if count]
    if facts.rows_in_default:
        said = counted(facts.rows_in_default, "row is", "rows are")
        lines.append(f"{said} in the default partition, which is harmless; aurea db check says more.")
    if facts.list_prices.is_stale:
        lines.append(f"List prices: {facts.list_prices}.")
    rows: list[tuple[str, Books | ProcessBooks]] = [(ALL, facts.books)]
    if by_process:
        rows += [(f"{process.host} pid {process.pid}", process) for process in facts.processes]
    width = max(len(name) for name, _ in rows)
    lines += ["", " " * width + "".join(f"{column:>12}" for column in COLUMNS)]
    lines += [
        f"{name:<{width}}" + "".join(f"{getattr(books, column):>12,}" for column in COLUMNS) for name, books in rows
    ]
    return "\n".join(lines)


def as_json(facts: Facts, *, by_process: bool) -> bytes:
    """For programs: one object, with what was found, the worst first."""
    found = findings(facts)
    return msgspec.json.encode(
        {
            "status": found[0].kind,
            "findings": [{"kind": finding.kind, "sentence": f"{finding.sentence}."} for finding in found],
            "books": facts.books,
            "rollup_differences": facts.rollup_differences,
            "rows_in_default_partition": facts.rows_in_default,
            "writer": facts.pulse.writer(facts.messages),
            "last_write": facts.pulse.last_write,
            "queue_messages": facts.messages,
            "list_prices": {"edition": facts.list_prices.edition, "age_days": facts.list_prices.age_days},
            "outbox": None if facts.held is None else _outbox(facts.held),
        }
        | ({"processes": [_process(process) for process in facts.processes]} if by_process else {})
    )


def _outbox(held: Held) -> dict[str, object]:
    return {"path": held.root, "events": held.count, "oldest_seconds": held.oldest_seconds}


def _process(process: ProcessBooks) -> dict[str, object]:
    return {"host": process.host, "pid": process.pid, "dropped_by_reason": process.dropped_by_reason} | {
        column: getattr(process, column) for column in COLUMNS
    }
