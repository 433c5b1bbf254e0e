-- Votes that moved no money, or none any more: what garbage collection may delete, without reading past the captured ones.
create index payments_void on payments (tx_id) where state = 'aborted' and debt is null;
