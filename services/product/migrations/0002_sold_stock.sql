-- What committed reservations had sold of each product before they were deleted (garbage rule). A sale is counted here or
-- has its row, never both.
create table sold_stock (
  product_id uuid primary key,
  quantity bigint not null
) with (fillfactor = 50);
