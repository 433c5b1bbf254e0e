-- Rows that are no order to anybody: what garbage collection may delete, without reading past all the orders that stay.
create index orders_to_nobody on orders (id) where state = 'aborted' and not answered_pending;
