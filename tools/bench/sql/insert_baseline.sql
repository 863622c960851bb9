-- What the benchmark `sql` compares the engine with: all values by one statement. O(rows).
insert into baseline ({columns})
select {columns}
from ({source});
