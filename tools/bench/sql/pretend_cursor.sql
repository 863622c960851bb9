-- The plan's cursor stands behind them. O(1).
update state.run
set next_row_group = $row_groups;
