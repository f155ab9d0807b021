"""``GET /prometheus``: what the store knows, as Prometheus and OpenMetrics scrape it.

Whatever only grows is a counter. Costs and unpriced tokens are gauges: a repricing may lower them, and a counter that
goes backwards looks like one that began again at zero, with all that was ever spent as its increase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from flask import Response, request
from prometheus_client import Metric, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from aurea_api.calls import Services
from aurea_api.parameters import NoQuery
from aurea_celery.storage.budgets import BudgetStanding, list_budgets
from aurea_celery.storage.latencies import Histogram
from aurea_celery.storage.pulse import Pulse, read_pulse
from aurea_celery.storage.rollups import BUCKET_BASE
from aurea_celery.storage.scrape import Kept, ModelSums, TaskSums, read_kept, read_sums

MOST_STATEMENT_SECONDS = 8  # less than the 10 s after which Prometheus gives up
MOST_BUDGETS = 100
OPENMETRICS = "application/openmetrics-text"

LE_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)
"""The bounds of the histogram; each stands for the nearest bound of the store's own buckets, at most 5 % away."""

LAST_BUCKETS = {le: round(math.log(le * 1000, BUCKET_BASE)) for le in LE_SECONDS}
"""The last of the store's buckets below each bound."""


def prometheus(services: Services, _: NoQuery) -> Response:
    """Sums of all time by task and model, the writer's state and the budgets, for Prometheus to scrape."""
    with services.store.connect() as connection:
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{MOST_STATEMENT_SECONDS}s'"))
        tasks, models = read_sums(connection)
        families = [
            *_task_families(tasks),
            *_model_families(models),
            *_writer_families(read_pulse(connection), read_kept(connection), services.queue.messages()),
            *_budget_families(list_budgets(connection)[:MOST_BUDGETS]),
        ]
    return _exposition(_Collected(families))


class _Collected(Collector):
    """What the exposition asks for its families."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Called by the exposition."""
        return self._families


def _exposition(collected: Collector) -> Response:
    """OpenMetrics for whoever takes it, else the older text format."""
    if any(kind.startswith(OPENMETRICS) and quality for kind, quality in request.accept_mimetypes):
        text = openmetrics.generate_latest(collected)  # type: ignore[no-untyped-call]  # it has no type hints
        return Response(text, content_type=openmetrics.CONTENT_TYPE_LATEST)
    return Response(exposition.generate_latest(collected), content_type=exposition.CONTENT_TYPE_PLAIN_0_0_4)


def _task_families(tasks: dict[str, TaskSums]) -> Iterator[Metric]:
    executions = CounterMetricFamily(
        "aurea_executions", "Executions of tasks and monitored functions, each attempt.", labels=["task", "status"]
    )
    durations = HistogramMetricFamily(
        "aurea_execution_duration_seconds",
        "How long executions took; each bound is within 5 percent.",
        labels=["task"],
        unit="seconds",
    )
    costs = _gauge("aurea_task_cost_usd", "What each task has cost; a repricing may lower it.", ["task"], "usd")
    unpriced = _gauge("aurea_task_unpriced_tokens", "Tokens of each task whose cost nobody knows.", ["task"], "tokens")
    for task, sums in tasks.items():
        for status, count in sums.executions.items():
            executions.add_metric([task, status], count)
        durations.add_metric([task], _buckets(sums.latencies), float(sums.latency_ms) / 1000)
        costs.add_metric([task], float(sums.cost_usd))
        unpriced.add_metric([task], sums.unpriced_tokens)
    yield from (executions, durations, costs, unpriced)


def _buckets(latencies: Histogram) -> list[tuple[str, float]]:
    """How many executions took no longer than each bound."""
    bounds = [
        (f"{le}", float(sum(count for bucket, count in latencies.items() if bucket <= last)))
        for le, last in LAST_BUCKETS.items()
    ]
    return [*bounds, ("+Inf", float(latencies.total()))]


def _model_families(models: dict[str, ModelSums]) -> Iterator[Metric]:
    calls = CounterMetricFamily("aurea_model_calls", "Calls of each model.", labels=["model"])
    tokens = CounterMetricFamily(
        "aurea_tokens",
        "Tokens of each model; unknown are those of which nobody said whether they are input or output.",
        labels=["model", "type"],
        unit="tokens",
    )
    costs = _gauge("aurea_cost_usd", "What each model has cost; a repricing may lower it.", ["model"], "usd")
    unpriced = _gauge("aurea_unpriced_tokens", "Tokens of each model whose cost nobody knows.", ["model"], "tokens")
    for model, sums in models.items():
        calls.add_metric([model], sums.calls)
        tokens.add_metric([model, "input"], sums.input_tokens)
        tokens.add_metric([model, "output"], sums.output_tokens)
        tokens.add_metric([model, "unknown"], sums.token_count - sums.input_tokens - sums.output_tokens)
        costs.add_metric([model], float(sums.cost_usd))
        unpriced.add_metric([model], sums.unpriced_tokens)
    yield from (calls, tokens, costs, unpriced)


def _writer_families(pulse: Pulse, kept: Kept, messages: int | None) -> Iterator[Metric]:
    yield _value(
        GaugeMetricFamily("aurea_writer_backlog_events", "Events that are captured and have not arrived."),
        pulse.backlog,
    )
    yield _value(
        GaugeMetricFamily(
            "aurea_writer_oldest_event_age_seconds", "Age of the oldest event that is not written.", unit="seconds"
        ),
        pulse.oldest_event_seconds,
    )
    yield _value(
        GaugeMetricFamily(
            "aurea_writer_last_write_timestamp_seconds", "When a writer has last written.", unit="seconds"
        ),
        None if pulse.last_write is None else pulse.last_write.timestamp(),
    )
    yield _value(
        GaugeMetricFamily("aurea_queue_messages", "Messages that wait in the queue, where the broker is known."),
        messages,
    )
    yield _value(
        CounterMetricFamily("aurea_writer_rejected", "Payloads that could not be written, in metrics_rejected."),
        kept.rejected,
    )
    yield _value(
        CounterMetricFamily("aurea_dropped_events", "Events that their processes had to give up."), kept.dropped
    )


def _budget_families(budgets: list[BudgetStanding]) -> Iterator[Metric]:
    labels = ["job_id", "task", "period"]  # `job` is what Prometheus calls the target
    limits = _gauge("aurea_budget_limit_usd", "What each job of a budget may cost in a period.", labels, "usd")
    spent = _gauge("aurea_budget_spent_usd", "What all jobs of a budget have cost in this period.", labels, "usd")
    unpriced = _gauge(
        "aurea_budget_unpriced_tokens", "Tokens in this period whose cost nobody knows.", labels, "tokens"
    )
    jobs = _gauge("aurea_budget_jobs", "Jobs of a budget in this period.", labels)
    used_up = _gauge("aurea_budget_used_up_jobs", "Of these, the jobs whose budget is used up.", labels)
    for one in budgets:
        names = [one.key.job, one.key.task, one.key.period]
        limits.add_metric(names, float(one.usd))
        spent.add_metric(names, float(one.spent_usd))
        unpriced.add_metric(names, one.unpriced_tokens)
        jobs.add_metric(names, one.jobs)
        used_up.add_metric(names, one.used_up)
    yield from (limits, spent, unpriced, jobs, used_up)


def _gauge(name: str, sentence: str, labels: list[str], unit: str = "") -> GaugeMetricFamily:
    return GaugeMetricFamily(name, sentence, labels=labels, unit=unit)


def _value(family: GaugeMetricFamily | CounterMetricFamily, value: float | None) -> Metric:
    """The family with its one value; without one where that is not known."""
    if value is not None:
        family.add_metric([], value)
    return family
