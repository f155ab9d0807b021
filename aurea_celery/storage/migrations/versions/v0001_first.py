"""The first schema: the truth, its rollups, the books, own prices."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = """
CREATE SEQUENCE metrics_id_seq AS BIGINT;

CREATE TABLE metrics (
    id BIGINT DEFAULT nextval('metrics_id_seq') NOT NULL,
    event_id UUID NOT NULL,
    seq SMALLINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    job_id TEXT NOT NULL,
    task_name TEXT NOT NULL,
    model_used TEXT NOT NULL,
    executions SMALLINT NOT NULL,
    status TEXT NOT NULL,
    calls INTEGER NOT NULL,
    token_count BIGINT NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    cost_status TEXT NOT NULL,
    cost_source TEXT,
    cost_problem TEXT,
    price_version TEXT,
    first_cost_estimate NUMERIC,
    first_cost_source TEXT,
    first_price_version TEXT,
    repriced_at TIMESTAMP WITH TIME ZONE,
    unpriced_tokens BIGINT NOT NULL,
    provider_name TEXT,
    response_model TEXT,
    service_tier TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_input_tokens BIGINT,
    cache_write_input_tokens BIGINT,
    reasoning_output_tokens BIGINT,
    cache_write_1h_input_tokens BIGINT,
    input_audio_tokens BIGINT,
    output_audio_tokens BIGINT,
    call_usages JSONB,
    time_to_first_token_ms NUMERIC,
    error_type TEXT,
    task_id TEXT,
    root_id TEXT,
    parent_id TEXT,
    group_id TEXT,
    parent_event_id UUID,
    attempt INTEGER NOT NULL,
    redelivered BOOLEAN NOT NULL,
    worker TEXT,
    queue TEXT,
    broker_wait_ms NUMERIC,
    prefetch_wait_ms NUMERIC,
    clock_skewed BOOLEAN DEFAULT false NOT NULL,
    tags JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT metrics_pkey PRIMARY KEY (created_at, event_id, seq),
    CONSTRAINT metrics_job_id_check CHECK (char_length(job_id) BETWEEN 1 AND 255),
    CONSTRAINT metrics_task_name_check CHECK (char_length(task_name) BETWEEN 1 AND 255),
    CONSTRAINT metrics_model_used_check CHECK (char_length(model_used) BETWEEN 1 AND 255),
    CONSTRAINT metrics_status_check CHECK (status IN ('success', 'failure', 'retry', 'rejected', 'ignored', 'revoked', 'timeout', 'lost')),
    CONSTRAINT metrics_cost_status_check CHECK (cost_status IN ('priced', 'free', 'unpriced', 'no_usage', 'invalid')),
    CONSTRAINT metrics_executions_check CHECK (executions IN (0, 1) AND (executions = 1) = (seq = 0)),
    CONSTRAINT metrics_counts_check CHECK (calls >= 0 AND attempt >= 0),
    CONSTRAINT metrics_tokens_check CHECK (token_count >= 0 AND unpriced_tokens BETWEEN 0 AND token_count),
    CONSTRAINT metrics_latency_check CHECK (latency_ms >= 0 AND latency_ms < 'Infinity'),
    CONSTRAINT metrics_cost_check CHECK (cost_estimate >= 0 AND cost_estimate < 'Infinity' AND (cost_status = 'priced' OR cost_estimate = 0)),
    CONSTRAINT metrics_usage_check CHECK (coalesce(input_tokens, 0) >= coalesce(cache_read_input_tokens, 0) + coalesce(cache_write_input_tokens, 0) AND coalesce(output_tokens, 0) >= coalesce(reasoning_output_tokens, 0) AND least(input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens, reasoning_output_tokens, cache_write_1h_input_tokens, input_audio_tokens, output_audio_tokens) >= 0 AND coalesce(cache_write_input_tokens, 0) >= coalesce(cache_write_1h_input_tokens, 0) AND coalesce(input_tokens, 0) >= coalesce(input_audio_tokens, 0) AND coalesce(output_tokens, 0) >= coalesce(output_audio_tokens, 0))
)
 PARTITION BY RANGE (created_at);

CREATE INDEX idx_metrics_job_id ON metrics (job_id, created_at, id);

CREATE INDEX metrics_tags_idx ON metrics USING gin (tags jsonb_path_ops);

COMMENT ON TABLE metrics IS 'What one execution spent on one model';

COMMENT ON COLUMN metrics.event_id IS 'one execution; with seq the key of idempotence';

COMMENT ON COLUMN metrics.seq IS '0 stands for the execution, further models follow';

COMMENT ON COLUMN metrics.created_at IS 'the end of the execution';

COMMENT ON COLUMN metrics.model_used IS '''none'' without a call, ''unknown'' with tokens of a model not named';

COMMENT ON COLUMN metrics.executions IS '1 on seq 0, else 0: tasks are SUM(executions)';

COMMENT ON COLUMN metrics.calls IS 'model calls summed in this row';

COMMENT ON COLUMN metrics.latency_ms IS 'of the execution, on seq 0; 0 on further models';

COMMENT ON COLUMN metrics.cost_estimate IS 'USD; 0 unless cost_status is priced';

COMMENT ON COLUMN metrics.cost_source IS 'which price list, or custom';

COMMENT ON COLUMN metrics.cost_problem IS 'why there is no cost';

COMMENT ON COLUMN metrics.price_version IS 'the price in metrics_prices that made cost_estimate';

COMMENT ON COLUMN metrics.first_cost_estimate IS 'before the first repricing; NULL: never repriced';

COMMENT ON COLUMN metrics.cache_write_1h_input_tokens IS 'of the cache writes, those for an hour';

COMMENT ON COLUMN metrics.call_usages IS 'of a row of several calls what each used, to price them again';

COMMENT ON COLUMN metrics.error_type IS 'the exception''s class name, never its message';

COMMENT ON COLUMN metrics.parent_event_id IS 'the monitored call or task this one ran inside';

COMMENT ON COLUMN metrics.attempt IS '0 is the first try';

COMMENT ON COLUMN metrics.clock_skewed IS 'a wait was below 0, because two clocks disagree, and is 0 here';

CREATE TABLE budget_spend (
    budget_id BIGINT NOT NULL,
    period_at TIMESTAMP WITH TIME ZONE NOT NULL,
    job_id TEXT NOT NULL,
    spent_usd NUMERIC NOT NULL,
    token_count NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT budget_spend_pkey PRIMARY KEY (budget_id, period_at, job_id)
);

CREATE INDEX budget_spend_spent_idx ON budget_spend (budget_id, period_at, spent_usd);

CREATE INDEX budget_spend_unpriced_idx ON budget_spend (budget_id, period_at) WHERE unpriced_tokens > 0;

COMMENT ON TABLE budget_spend IS 'Sums per budget, period and job';

COMMENT ON COLUMN budget_spend.period_at IS 'start of the period; 1970 for a job''s life';

COMMENT ON COLUMN budget_spend.job_id IS ''''' is all jobs together';

CREATE TABLE budgets (
    budget_id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    job TEXT NOT NULL,
    task TEXT NOT NULL,
    period TEXT NOT NULL,
    usd NUMERIC NOT NULL,
    on_exceed TEXT NOT NULL,
    time_zone TEXT NOT NULL,
    job_like TEXT NOT NULL,
    task_like TEXT NOT NULL,
    counts_from TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT budgets_pkey PRIMARY KEY (budget_id),
    CONSTRAINT budgets_job_task_period_key UNIQUE (job, task, period),
    CONSTRAINT budgets_period_check CHECK (period IN ('day', 'month', 'job')),
    CONSTRAINT budgets_on_exceed_check CHECK (on_exceed IN ('warn', 'block')),
    CONSTRAINT budgets_names_check CHECK (greatest(char_length(job), char_length(task)) <= 255),
    CONSTRAINT budgets_usd_check CHECK (usd >= 0 AND usd < 'Infinity'),
    CONSTRAINT budgets_life_is_a_jobs_check CHECK (period <> 'job' OR job <> '')
);

COMMENT ON TABLE budgets IS 'What jobs may cost in a period';

COMMENT ON COLUMN budgets.job IS ''''' is all jobs together; with a *, each job that matches has its own';

COMMENT ON COLUMN budgets.task IS ''''' is every task';

COMMENT ON COLUMN budgets.period IS 'job is the life of a job''s id';

COMMENT ON COLUMN budgets.time_zone IS 'whose days and months';

COMMENT ON COLUMN budgets.job_like IS 'job as a pattern of LIKE';

COMMENT ON COLUMN budgets.task_like IS 'task as a pattern of LIKE';

COMMENT ON COLUMN budgets.counts_from IS 'rows before this time do not count';

CREATE TABLE metrics_15m (
    quarter_at TIMESTAMP WITH TIME ZONE NOT NULL,
    task_name TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    model_used TEXT NOT NULL,
    status TEXT NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    wasted_executions BIGINT NOT NULL,
    wasted_tokens NUMERIC NOT NULL,
    wasted_unpriced_tokens NUMERIC NOT NULL,
    wasted_cost NUMERIC NOT NULL,
    redelivered_executions BIGINT NOT NULL,
    redelivered_tokens NUMERIC NOT NULL,
    redelivered_unpriced_tokens NUMERIC NOT NULL,
    redelivered_cost NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT metrics_15m_pkey PRIMARY KEY (quarter_at, task_name, provider_name, model_used, status)
);

COMMENT ON TABLE metrics_15m IS 'Sums per quarter of an hour: right in every time zone';

COMMENT ON COLUMN metrics_15m.quarter_at IS 'start of the quarter of an hour, UTC';

COMMENT ON COLUMN metrics_15m.provider_name IS ''''' where it is not known';

COMMENT ON COLUMN metrics_15m.wasted_executions IS 'that came to no success';

COMMENT ON COLUMN metrics_15m.wasted_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_15m.wasted_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_15m.wasted_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_15m.redelivered_executions IS 'that the broker handed out again';

COMMENT ON COLUMN metrics_15m.redelivered_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_15m.redelivered_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_15m.redelivered_cost IS 'of cost_estimate, theirs';

CREATE TABLE metrics_1d (
    dimension TEXT NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    wasted_executions BIGINT NOT NULL,
    wasted_tokens NUMERIC NOT NULL,
    wasted_unpriced_tokens NUMERIC NOT NULL,
    wasted_cost NUMERIC NOT NULL,
    redelivered_executions BIGINT NOT NULL,
    redelivered_tokens NUMERIC NOT NULL,
    redelivered_unpriced_tokens NUMERIC NOT NULL,
    redelivered_cost NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    buckets SMALLINT[] NOT NULL,
    bucket_executions BIGINT[] NOT NULL,
    CONSTRAINT metrics_1d_pkey PRIMARY KEY (dimension, starts_at, name, status),
    CONSTRAINT metrics_1d_dimension_check CHECK (dimension IN ('all', 'task', 'model', 'provider'))
);

COMMENT ON TABLE metrics_1d IS 'Sums per day by one name at a time';

COMMENT ON COLUMN metrics_1d.dimension IS 'what name is a name of';

COMMENT ON COLUMN metrics_1d.starts_at IS 'start of the day, UTC';

COMMENT ON COLUMN metrics_1d.name IS ''''' of all; of a provider that is not known';

COMMENT ON COLUMN metrics_1d.wasted_executions IS 'that came to no success';

COMMENT ON COLUMN metrics_1d.wasted_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_1d.wasted_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_1d.wasted_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_1d.redelivered_executions IS 'that the broker handed out again';

COMMENT ON COLUMN metrics_1d.redelivered_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_1d.redelivered_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_1d.redelivered_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_1d.buckets IS 'of latency as in metrics_latency_15m';

COMMENT ON COLUMN metrics_1d.bucket_executions IS 'of each of buckets';

CREATE TABLE metrics_1h (
    dimension TEXT NOT NULL,
    starts_at TIMESTAMP WITH TIME ZONE NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    wasted_executions BIGINT NOT NULL,
    wasted_tokens NUMERIC NOT NULL,
    wasted_unpriced_tokens NUMERIC NOT NULL,
    wasted_cost NUMERIC NOT NULL,
    redelivered_executions BIGINT NOT NULL,
    redelivered_tokens NUMERIC NOT NULL,
    redelivered_unpriced_tokens NUMERIC NOT NULL,
    redelivered_cost NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    buckets SMALLINT[] NOT NULL,
    bucket_executions BIGINT[] NOT NULL,
    CONSTRAINT metrics_1h_pkey PRIMARY KEY (dimension, starts_at, name, status),
    CONSTRAINT metrics_1h_dimension_check CHECK (dimension IN ('all', 'task', 'model', 'provider'))
);

COMMENT ON TABLE metrics_1h IS 'Sums per hour by one name at a time, of 100 days';

COMMENT ON COLUMN metrics_1h.dimension IS 'what name is a name of';

COMMENT ON COLUMN metrics_1h.starts_at IS 'start of the hour, UTC';

COMMENT ON COLUMN metrics_1h.name IS ''''' of all; of a provider that is not known';

COMMENT ON COLUMN metrics_1h.wasted_executions IS 'that came to no success';

COMMENT ON COLUMN metrics_1h.wasted_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_1h.wasted_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_1h.wasted_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_1h.redelivered_executions IS 'that the broker handed out again';

COMMENT ON COLUMN metrics_1h.redelivered_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_1h.redelivered_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_1h.redelivered_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_1h.buckets IS 'of latency as in metrics_latency_15m';

COMMENT ON COLUMN metrics_1h.bucket_executions IS 'of each of buckets';

CREATE TABLE metrics_job (
    job_id TEXT NOT NULL,
    task_name TEXT NOT NULL,
    model_used TEXT NOT NULL,
    status TEXT NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    wasted_executions BIGINT NOT NULL,
    wasted_tokens NUMERIC NOT NULL,
    wasted_unpriced_tokens NUMERIC NOT NULL,
    wasted_cost NUMERIC NOT NULL,
    redelivered_executions BIGINT NOT NULL,
    redelivered_tokens NUMERIC NOT NULL,
    redelivered_unpriced_tokens NUMERIC NOT NULL,
    redelivered_cost NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT metrics_job_pkey PRIMARY KEY (job_id, task_name, model_used, status)
);

COMMENT ON TABLE metrics_job IS 'Sums per job, task, model and status';

COMMENT ON COLUMN metrics_job.wasted_executions IS 'that came to no success';

COMMENT ON COLUMN metrics_job.wasted_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_job.wasted_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_job.wasted_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_job.redelivered_executions IS 'that the broker handed out again';

COMMENT ON COLUMN metrics_job.redelivered_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_job.redelivered_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_job.redelivered_cost IS 'of cost_estimate, theirs';

CREATE TABLE metrics_jobs (
    job_id TEXT NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    wasted_executions BIGINT NOT NULL,
    wasted_tokens NUMERIC NOT NULL,
    wasted_unpriced_tokens NUMERIC NOT NULL,
    wasted_cost NUMERIC NOT NULL,
    redelivered_executions BIGINT NOT NULL,
    redelivered_tokens NUMERIC NOT NULL,
    redelivered_unpriced_tokens NUMERIC NOT NULL,
    redelivered_cost NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT metrics_jobs_pkey PRIMARY KEY (job_id)
);

CREATE INDEX metrics_jobs_cost_idx ON metrics_jobs (cost_estimate, job_id);

CREATE INDEX metrics_jobs_executions_idx ON metrics_jobs (executions, job_id);

CREATE INDEX metrics_jobs_last_at_idx ON metrics_jobs (last_at, job_id);

CREATE INDEX metrics_jobs_prefix_idx ON metrics_jobs (job_id text_pattern_ops);

COMMENT ON TABLE metrics_jobs IS 'Sums per job, for listing jobs';

COMMENT ON COLUMN metrics_jobs.wasted_executions IS 'that came to no success';

COMMENT ON COLUMN metrics_jobs.wasted_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_jobs.wasted_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_jobs.wasted_cost IS 'of cost_estimate, theirs';

COMMENT ON COLUMN metrics_jobs.redelivered_executions IS 'that the broker handed out again';

COMMENT ON COLUMN metrics_jobs.redelivered_tokens IS 'of token_count, theirs';

COMMENT ON COLUMN metrics_jobs.redelivered_unpriced_tokens IS 'of unpriced_tokens, theirs';

COMMENT ON COLUMN metrics_jobs.redelivered_cost IS 'of cost_estimate, theirs';

CREATE TABLE metrics_latency_15m (
    quarter_at TIMESTAMP WITH TIME ZONE NOT NULL,
    task_name TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    model_used TEXT NOT NULL,
    status TEXT NOT NULL,
    bucket SMALLINT NOT NULL,
    executions BIGINT NOT NULL,
    CONSTRAINT metrics_latency_15m_pkey PRIMARY KEY (quarter_at, task_name, provider_name, model_used, status, bucket)
);

COMMENT ON TABLE metrics_latency_15m IS 'A log-bucket histogram of latency: percentiles that can be merged, error at most 5 percent';

COMMENT ON COLUMN metrics_latency_15m.provider_name IS ''''' where it is not known';

COMMENT ON COLUMN metrics_latency_15m.bucket IS 'latency_ms in (1.1^(bucket-1), 1.1^bucket]';

CREATE TABLE metrics_posted (
    event_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    digest BYTEA NOT NULL,
    posted_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT metrics_posted_pkey PRIMARY KEY (event_id)
);

CREATE INDEX metrics_posted_posted_at_idx ON metrics_posted (posted_at);

COMMENT ON TABLE metrics_posted IS 'Ids that clients of the API gave: what is posted again is not written again';

COMMENT ON COLUMN metrics_posted.created_at IS 'of the event: its rows are found by both';

COMMENT ON COLUMN metrics_posted.digest IS 'SHA-256 of what was posted';

CREATE TABLE metrics_prices (
    price_version TEXT NOT NULL,
    source TEXT NOT NULL,
    unit_prices JSONB NOT NULL,
    first_used_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT metrics_prices_pkey PRIMARY KEY (price_version)
);

COMMENT ON TABLE metrics_prices IS 'Every price that a cost in metrics was computed with';

COMMENT ON COLUMN metrics_prices.unit_prices IS 'USD per million tokens, by kind: costs can be made anew';

CREATE TABLE metrics_pruned (
    job_id TEXT NOT NULL,
    task_name TEXT NOT NULL,
    model_used TEXT NOT NULL,
    status TEXT NOT NULL,
    redelivered BOOLEAN NOT NULL,
    executions BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    token_count NUMERIC NOT NULL,
    input_tokens NUMERIC NOT NULL,
    output_tokens NUMERIC NOT NULL,
    unpriced_tokens NUMERIC NOT NULL,
    latency_ms NUMERIC NOT NULL,
    cost_estimate NUMERIC NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT metrics_pruned_pkey PRIMARY KEY (job_id, task_name, model_used, status, redelivered)
);

COMMENT ON TABLE metrics_pruned IS 'Sums of the rows that retention has dropped: rows + these = rollups';

CREATE TABLE metrics_rejected (
    id BIGSERIAL NOT NULL,
    rejected_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    payload_hash TEXT NOT NULL,
    source_id UUID,
    reason TEXT NOT NULL,
    payload TEXT NOT NULL,
    CONSTRAINT metrics_rejected_pkey PRIMARY KEY (id),
    CONSTRAINT metrics_rejected_payload_hash_key UNIQUE (payload_hash)
);

COMMENT ON TABLE metrics_rejected IS 'What could not be written, and why';

COMMENT ON COLUMN metrics_rejected.payload_hash IS 'so that a redelivery is not rejected twice';

COMMENT ON COLUMN metrics_rejected.source_id IS 'the process that sent it, where known';

CREATE TABLE metrics_retention (
    pruned_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    partition TEXT NOT NULL,
    pruned_until TIMESTAMP WITH TIME ZONE NOT NULL,
    rows BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    first_at TIMESTAMP WITH TIME ZONE,
    last_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT metrics_retention_pkey PRIMARY KEY (pruned_at, partition)
);

COMMENT ON TABLE metrics_retention IS 'What retention has dropped, and when';

COMMENT ON COLUMN metrics_retention.pruned_until IS 'no row from this time on was dropped';

COMMENT ON COLUMN metrics_retention.bytes IS 'of the dropped table and its indexes';

COMMENT ON COLUMN metrics_retention.first_at IS 'of the dropped rows; NULL: there were none';

CREATE TABLE metrics_sources (
    source_id UUID NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    captured BIGINT NOT NULL,
    written BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    dropped JSONB DEFAULT '{}' NOT NULL,
    lost BIGINT DEFAULT 0 NOT NULL,
    excluded BIGINT DEFAULT 0 NOT NULL,
    sampled_out BIGINT DEFAULT 0 NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    through TEXT DEFAULT 'queue' NOT NULL,
    last_event_at TIMESTAMP WITH TIME ZONE,
    open_since TIMESTAMP WITH TIME ZONE,
    CONSTRAINT metrics_sources_pkey PRIMARY KEY (source_id),
    CONSTRAINT metrics_sources_through_check CHECK (through IN ('queue', 'api'))
);

COMMENT ON TABLE metrics_sources IS 'The books: captured = written + rejected + still on the way, per process of the host';

COMMENT ON COLUMN metrics_sources.captured IS 'events it says it has produced so far';

COMMENT ON COLUMN metrics_sources.written IS 'of these, events in metrics';

COMMENT ON COLUMN metrics_sources.rejected IS 'of these, events in metrics_rejected';

COMMENT ON COLUMN metrics_sources.duplicates IS 'events that came again and were not written again';

COMMENT ON COLUMN metrics_sources.dropped IS 'events given up, by reason';

COMMENT ON COLUMN metrics_sources.lost IS 'the sum of dropped';

COMMENT ON COLUMN metrics_sources.excluded IS 'executions left out by name';

COMMENT ON COLUMN metrics_sources.sampled_out IS 'executions left out by chance';

COMMENT ON COLUMN metrics_sources.last_seen_at IS 'when its last batch was written';

COMMENT ON COLUMN metrics_sources.through IS 'how its events come here';

COMMENT ON COLUMN metrics_sources.last_event_at IS 'end of the newest event of its last batch; null if none is new';

COMMENT ON COLUMN metrics_sources.open_since IS 'since when, without a break, some of captured is missing';

CREATE TABLE metrics_uncondensed (
    hour_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT metrics_uncondensed_pkey PRIMARY KEY (hour_at)
);

COMMENT ON TABLE metrics_uncondensed IS 'Hours of which metrics_1h and metrics_1d do not tell, but metrics_15m';

COMMENT ON COLUMN metrics_uncondensed.hour_at IS 'its sums have changed since, and its day''s';

CREATE TABLE model_prices (
    model TEXT NOT NULL,
    provider TEXT DEFAULT '' NOT NULL,
    effective_from TIMESTAMP WITH TIME ZONE NOT NULL,
    is_pattern BOOLEAN DEFAULT false NOT NULL,
    same_as TEXT,
    input_usd_per_million NUMERIC,
    output_usd_per_million NUMERIC,
    cache_read_usd_per_million NUMERIC,
    cache_write_usd_per_million NUMERIC,
    cache_write_1h_usd_per_million NUMERIC,
    input_audio_usd_per_million NUMERIC,
    output_audio_usd_per_million NUMERIC,
    total_usd_per_million NUMERIC,
    note TEXT,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT model_prices_pkey PRIMARY KEY (model, provider, effective_from),
    CONSTRAINT model_prices_model_check CHECK (char_length(model) BETWEEN 1 AND 255),
    CONSTRAINT model_prices_rates_check CHECK (least(input_usd_per_million, output_usd_per_million, cache_read_usd_per_million, cache_write_usd_per_million, cache_write_1h_usd_per_million, input_audio_usd_per_million, output_audio_usd_per_million, total_usd_per_million) >= 0 AND greatest(input_usd_per_million, output_usd_per_million, cache_read_usd_per_million, cache_write_usd_per_million, cache_write_1h_usd_per_million, input_audio_usd_per_million, output_audio_usd_per_million, total_usd_per_million) < 'Infinity'),
    CONSTRAINT model_prices_says_one_thing_check CHECK ((same_as IS NULL) = (num_nonnulls(input_usd_per_million, output_usd_per_million, cache_read_usd_per_million, cache_write_usd_per_million, cache_write_1h_usd_per_million, input_audio_usd_per_million, output_audio_usd_per_million, total_usd_per_million) > 0))
);

COMMENT ON TABLE model_prices IS 'The user''s own and overriding prices, by date';

COMMENT ON COLUMN model_prices.model IS 'as it is asked for, or as the provider answers';

COMMENT ON COLUMN model_prices.provider IS ''''' is any';

COMMENT ON COLUMN model_prices.is_pattern IS '* in model stands for anything';

COMMENT ON COLUMN model_prices.same_as IS 'the model whose price this one has; then there are no rates';

CREATE TABLE price_books (
    edition TEXT NOT NULL,
    fetched_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    announced DATE[] NOT NULL,
    data TEXT NOT NULL,
    CONSTRAINT price_books_pkey PRIMARY KEY (edition)
);

COMMENT ON TABLE price_books IS 'Editions of the list prices that are newer than the installed package';

COMMENT ON COLUMN price_books.announced IS 'days of changes that it knew to come';

COMMENT ON COLUMN price_books.data IS 'genai-prices'' list of providers, as it was fetched';

CREATE TABLE metrics_default PARTITION OF metrics DEFAULT;
"""

TABLES = "budget_spend, budgets, price_books, model_prices, metrics_prices, metrics_posted, metrics_sources, metrics_rejected, metrics_retention, metrics_pruned, metrics_uncondensed, metrics_1d, metrics_1h, metrics_latency_15m, metrics_jobs, metrics_job, metrics_15m, metrics"


def upgrade() -> None:
    """Create everything."""
    op.get_bind().exec_driver_sql(STATEMENTS)


def downgrade() -> None:
    """Remove everything."""
    op.execute(f"DROP TABLE {TABLES}")
    op.execute("DROP SEQUENCE metrics_id_seq")
