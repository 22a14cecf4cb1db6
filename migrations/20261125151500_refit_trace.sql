-- The trace of the request that asked for a refit goes on in the worker that runs it.

ALTER TABLE refits ADD COLUMN trace_context text
    CONSTRAINT refits_trace_context_valid CHECK (trace_context ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$');

COMMENT ON COLUMN refits.trace_context IS
    'W3C traceparent of the request that queued it, under which its worker puts its spans; null where that request was not traced.';
