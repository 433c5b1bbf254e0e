-- The traceparent of the commit that told the event, so that its way to the consumers is seen in the same trace. Null
-- where nothing is traced.
alter table outbox add column trace text;
