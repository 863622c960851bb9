/*
What each public view and column means: the help page of the views is made from these comments (tools/help_pages.py).
*/

comment on view main.run_status is 'The run as a whole; one row.';
comment on column main.run_status.name is 'Name of the dataset.';
comment on column main.run_status.state is 'new, running, paused, stopped or finished.';
comment on column main.run_status.records is 'Rows planned.';
comment on column main.run_status.rows_finished is 'Rows in the dataset.';
comment on column main.run_status.rows_dropped is 'Rows given up; see dropped_row.';
comment on column main.run_status.row_groups is 'Row groups planned.';
comment on column main.run_status.row_groups_active is 'Row groups admitted, not finished and not parked.';
comment on column main.run_status.row_groups_finished is 'Row groups finished.';
comment on column main.run_status.invocations is 'Processes that have worked on this run.';
comment on column main.run_status.requests is 'Requests made of models, in all invocations.';
comment on column main.run_status.input_tokens is 'Tokens sent to models.';
comment on column main.run_status.output_tokens is 'Tokens received from models.';
comment on column main.run_status.cost_usd is 'Cost of the requests to models that have a price, in US dollars; null where none was made of such a model.';
comment on column main.run_status.started_at is 'When the first invocation began (UTC).';
comment on column main.run_status.updated_at is 'When the run last moved on (UTC).';
comment on column main.run_status.reason is 'Why the run stopped, if it did.';
comment on column main.run_status.row_groups_parked is 'Row groups that wait for a cooling resource.';
comment on column main.run_status.row_groups_resting is 'Row groups that come back for more work, or wait for a barrier.';
comment on column main.run_status.answers_cut_off is 'Answers that ended at the limit of their length (max_tokens), in all invocations.';
comment on column main.run_status.rows_lost is 'Of the rows given up, those that were lost to errors; the others were taken out as the spec, or a person, wanted.';
comment on column main.run_status.cached_tokens is 'Of the tokens sent, those that the servers had in their caches, as far as they say.';
comment on column main.run_status.cache_write_tokens is 'Of the tokens sent, those that the servers wrote into their caches, as far as they say.';

comment on view main.progress is 'How far each column is; done + skipped + dropped + deferred + waiting = cells.';
comment on column main.progress.column_name is 'The column.';
comment on column main.progress.generator is 'The generator that makes it.';
comment on column main.progress.strategy is 'How the generator is called: cell, batch, dataset or sql.';
comment on column main.progress.cells is 'Cells planned: one per record.';
comment on column main.progress.done is 'Cells that hold a generated value.';
comment on column main.progress.skipped is 'Cells that were skipped.';
comment on column main.progress.dropped is 'Cells of rows that were dropped.';
comment on column main.progress.deferred is 'Cells whose task failed and waits for another attempt.';
comment on column main.progress.waiting is 'Cells not made yet.';
comment on column main.progress.resource is 'What its tasks occupy; null if it has none.';
comment on column main.progress.column_type is 'What kind of column it is.';

comment on view main.row_group is 'Row groups that were admitted.';
comment on column main.row_group.row_group is 'Number of the row group, from 0.';
comment on column main.row_group.state is 'active, parked (it waits for a cooling resource), resting (it will come back, or waits for a barrier) or finished.';
comment on column main.row_group.first_row is 'row_id of its first row.';
comment on column main.row_group.row_count is 'Rows it was planned with.';
comment on column main.row_group.rows_finished is 'Its rows in the dataset; 0 until it is finished.';
comment on column main.row_group.rows_dropped is 'Its rows that were dropped.';
comment on column main.row_group.admitted_at is 'When it was admitted (UTC).';
comment on column main.row_group.finished_at is 'When it was finished (UTC).';

comment on view main.ready_task is 'The frontier: tasks whose inputs are all there and that are not deferred. Marks of tasks in flight belong to the working process.';
comment on column main.ready_task.generator is 'The generator to call.';
comment on column main.ready_task.strategy is 'cell: one task a row; batch: one a row group.';
comment on column main.ready_task.resource is 'What the task occupies while it runs.';
comment on column main.ready_task.row_group is 'Its row group.';
comment on column main.ready_task.row_index is 'Its place in the row group; null for a batch task.';
comment on column main.ready_task.row_id is 'Its row; the first of the row group for a batch task.';

comment on view main.cell is 'Cells of active row groups.';
comment on column main.cell.row_id is 'The row.';
comment on column main.cell.row_group is 'Its row group.';
comment on column main.cell.row_index is 'Its place in the row group.';
comment on column main.cell.column_name is 'The column.';
comment on column main.cell.state is 'waiting, ready, deferred, done, skipped or dropped.';

comment on view main.dropped_row is 'Rows that were given up, and why.';
comment on column main.dropped_row.row_id is 'The row.';
comment on column main.dropped_row.row_group is 'Its row group.';
comment on column main.dropped_row.row_index is 'Its place in the row group.';
comment on column main.dropped_row.column_name is 'The column that could not be made; of a row dropped by hand, one that was deferred, else the one that is made last.';
comment on column main.dropped_row.reason is 'rejected, retries_exhausted, filtered, duplicate, given_up, by_hand or invalid.';
comment on column main.dropped_row.error_type is 'Kind of the last error.';
comment on column main.dropped_row.message is 'The last error, shortened.';
comment on column main.dropped_row.attempts is 'Attempts that counted against max_attempts.';
comment on column main.dropped_row.dropped_at is 'When it was dropped (UTC).';
comment on column main.dropped_row.source_line is 'File and line of your function that raised; null for other drops.';

comment on view main.dropped_row_value is 'What dropped rows held when they were given up, in the types of dataset; null where nothing was made.';
comment on column main.dropped_row_value.row_id is 'The row; dropped_row has the reason.';

comment on view main.deferred_task is 'Tasks that failed in a way worth another attempt.';
comment on column main.deferred_task.generator is 'The generator.';
comment on column main.deferred_task.row_group is 'The row group.';
comment on column main.deferred_task.row_index is 'The place in the row group; null for a batch task.';
comment on column main.deferred_task.row_id is 'The row; null for a batch task.';
comment on column main.deferred_task.attempts is 'Failures that count against max_attempts; being rate limited does not.';
comment on column main.deferred_task.error_type is 'Kind of the last error.';
comment on column main.deferred_task.message is 'The last error, shortened.';
comment on column main.deferred_task.not_before is 'When it may be tried again (UTC).';
comment on column main.deferred_task.resource is 'What it will occupy.';
comment on column main.deferred_task.explanation is 'What it waits for, in words.';

comment on view main.barrier is 'Columns that are made by looking at all rows at once, and whether they ran.';
comment on column main.barrier.column_name is 'The column.';
comment on column main.barrier.state is 'done (it ran over all rows there are), ready, or waiting (for row groups, or for a barrier before it).';
comment on column main.barrier.completed_at is 'When it ran last (UTC); null if it never did.';
comment on column main.barrier.rows_in is 'Rows it looked at then.';
comment on column main.barrier.rows_out is 'Rows it let pass then.';

comment on view main.attempt is 'Every request made of a model, and every failed call.';
comment on column main.attempt.invocation is 'The process that made it.';
comment on column main.attempt.generator is 'The generator it was made for.';
comment on column main.attempt.row_id is 'The row it was made for; null for a batch task.';
comment on column main.attempt.attempt is 'Counts from 1 and grows with failures that count against max_attempts.';
comment on column main.attempt.outcome is 'succeeded, reused (the answer was kept from before; no request), rate_limited, transient, rejected, stop or released (cut off when the run ended).';
comment on column main.attempt.error_type is 'Kind of the error, null for success.';
comment on column main.attempt.message is 'The error, shortened; beside a success a note on what of the answer could not be believed, or that tokens are estimated.';
comment on column main.attempt.model is 'The model asked; null for a call without a request: it failed before, or its answer was kept.';
comment on column main.attempt.started_at is 'When it began (UTC).';
comment on column main.attempt.duration_ms is 'How long it took, milliseconds.';
comment on column main.attempt.input_tokens is 'Tokens sent.';
comment on column main.attempt.output_tokens is 'Tokens received.';
comment on column main.attempt.cost_usd is 'Its cost in US dollars; null if the model has no price.';
comment on column main.attempt.number is 'In which order they were recorded, counted from 0.';
comment on column main.attempt.finish_reason is 'What the answer ended for: stop, length (cut off at its limit), content_filter, or as the endpoint calls it; null if it does not say.';
comment on column main.attempt.row_group is 'The row group of the task: of a batch task, which has no row_id, all there is to tell it by.';
comment on column main.attempt.cached_tokens is 'Of the tokens sent, those that the server had in its cache; 0 if it does not say, null for attempts of older versions.';
comment on column main.attempt.cache_write_tokens is 'Of the tokens sent, those that the server wrote into its cache; 0 if it does not say, null for attempts of older versions.';

comment on view main.usage is 'Requests, tokens and cost per model, invocation and hour.';
comment on column main.usage.model is 'The model asked.';
comment on column main.usage.invocation is 'The process that asked.';
comment on column main.usage.hour is 'The hour the requests began in (UTC).';
comment on column main.usage.requests is 'Requests made.';
comment on column main.usage.succeeded is 'Requests that gave an answer.';
comment on column main.usage.failed is 'Requests that gave an error.';
comment on column main.usage.input_tokens is 'Tokens sent.';
comment on column main.usage.output_tokens is 'Tokens received.';
comment on column main.usage.cost_usd is 'Cost in US dollars; null if the model had no price.';
comment on column main.usage.cached_tokens is 'Of the tokens sent, those that the server had in its cache, as far as it says.';
comment on column main.usage.cache_write_tokens is 'Of the tokens sent, those that the server wrote into its cache, as far as it says.';

comment on view main.resource is 'What tasks occupy while they run: model endpoints and local workers.';
comment on column main.resource.resource is 'provider/model, local (the event loop) or local/threads.';
comment on column main.resource.configured_limit is 'Calls at once, as the spec says.';
comment on column main.resource.learned_limit is 'Calls at once that the endpoint was found to take.';
comment on column main.resource.in_flight is 'Calls running now; 0 when no process works on the run.';
comment on column main.resource.cooling_until is 'Nothing starts there before this time (UTC).';
comment on column main.resource.reason is 'Why it cools down.';
comment on column main.resource.explanation is 'How many calls it takes, or why none, in words.';

comment on view main.admission is 'May the next row group enter, and if not, why; one row.';
comment on column main.admission.admit is 'True if the next row group may enter.';
comment on column main.admission.reason is 'Why not, or that it may.';
comment on column main.admission.next_row_group is 'The next row group of the plan; null if none is left.';
comment on column main.admission.next_row_count is 'Its rows.';
comment on column main.admission.row_groups_active is 'Row groups admitted and not finished.';
comment on column main.admission.max_active_row_groups is 'Bound on active row groups, a run setting.';
comment on column main.admission.rows_active is 'Live rows of active row groups.';
comment on column main.admission.max_active_rows is 'Bound on active rows, a run setting.';
comment on column main.admission.rows_parked is 'Live rows of parked row groups, which wait for a cooling resource.';
comment on column main.admission.max_parked_rows is 'Bound on parked rows, a run setting.';
comment on column main.admission.deferred_tasks is 'Tasks deferred at a resource that cools down.';
comment on column main.admission.deferred_scope is 'What those tasks wait for.';
comment on column main.admission.deferred_by_column is 'How many of those tasks each column has.';
comment on column main.admission.deferred_by_resource is 'How many of those tasks each resource has.';
comment on column main.admission.candidate_columns is 'Columns the next row group would bring tasks of.';
comment on column main.admission.independent_columns is 'Those of them that have useful work whatever is deferred.';
comment on column main.admission.explanation is 'The decision in words.';

comment on view main.plan is 'How the records are cut into row groups: one row, and one more for every extension. Row group g of a segment starts at row first_row + (g - first_row_group) * row_group_size.';
comment on column main.plan.segment is 'Counts from 0.';
comment on column main.plan.first_row_group is 'Its first row group.';
comment on column main.plan.row_groups is 'How many row groups it has.';
comment on column main.plan.row_group_size is 'Rows of each of them; the last one may have fewer.';
comment on column main.plan.first_row is 'row_id of its first row.';
comment on column main.plan."rows" is 'How many rows it has.';

comment on view main.event is 'What happened to the run as a whole.';
comment on column main.event."at" is 'When (UTC).';
comment on column main.event.kind is 'What kind of thing.';
comment on column main.event.subject is 'What it happened to.';
comment on column main.event.detail is 'More words.';

comment on view main.invocation is 'Every process that worked on this run.';
comment on column main.invocation.invocation is 'Counts from 1.';
comment on column main.invocation.pid is 'Its process id.';
comment on column main.invocation.host is 'The machine it ran on.';
comment on column main.invocation.version is 'The version of Rowmill.';
comment on column main.invocation.started_at is 'When it began (UTC).';
comment on column main.invocation.ended_at is 'When it ended (UTC); of one that crashed, when the next one found that. Null if it lives, or crashed and none has followed yet.';
comment on column main.invocation.end_reason is 'How it ended: complete, drained, cancelled, crashed, failed with the reason, or the bound that was reached.';

comment on view main.worker is 'Workers elsewhere: those of this invocation, and the last 1,000 that ended.';
comment on column main.worker.name is 'Its name: group and number.';
comment on column main.worker.worker_group is 'The group it belongs to.';
comment on column main.worker.kind is 'What it is: processes or ray.';
comment on column main.worker.state is 'starting, ready, quiet (silent for 2 s: it gets no new calls), lost or ended.';
comment on column main.worker.invocation is 'The invocation it works for.';
comment on column main.worker.pid is 'Its process.';
comment on column main.worker.host is 'The machine it runs on.';
comment on column main.worker.node is 'The node of a cluster; null where there are none.';
comment on column main.worker.joined_at is 'When it was ready for calls (UTC); null if it never was.';
comment on column main.worker.heard_at is 'Its last sign of life (UTC), up to two seconds old.';
comment on column main.worker.ended_at is 'When it was lost, or ended with its invocation (UTC).';
comment on column main.worker.in_flight is 'Calls it works on.';
comment on column main.worker.done is 'Calls that ended on it.';
comment on column main.worker.calls_lost is 'Calls it had when it was lost: they were made again.';
comment on column main.worker.reason is 'Why it was lost.';

comment on view main.spec_version is 'Every spec the dataset was made from. Secrets appear only as ${NAME}.';
comment on column main.spec_version.version is 'Counts from 1.';
comment on column main.spec_version.accepted_at is 'When the run took it (UTC).';
comment on column main.spec_version.is_current is 'True for the one the run goes on with.';
comment on column main.spec_version.spec is 'The spec as JSON.';

comment on view main.graph is 'The generators in the order in which a row passes them, and how far each is.';
comment on column main.graph.generator is 'The generator.';
comment on column main.graph.column_type is 'What kind of column it makes.';
comment on column main.graph.strategy is 'How it is called: cell, batch, dataset or sql.';
comment on column main.graph.resource is 'What its tasks occupy; null if it has none.';
comment on column main.graph.needs is 'The generators whose columns it needs.';
comment on column main.graph.columns is 'The columns it makes.';
comment on column main.graph.state is 'done, cooling (what its tasks occupy rests), ready (it has tasks to start), deferred (all it could do failed and waits) or waiting (for other generators, or for row groups to enter).';
comment on column main.graph.cells is 'Cells planned in each of its columns.';
comment on column main.graph.done is 'Cells that hold a generated value.';
comment on column main.graph.skipped is 'Cells that were skipped.';
comment on column main.graph.dropped is 'Cells of rows that were dropped.';
comment on column main.graph.deferred is 'Cells whose task failed and waits for another attempt.';
comment on column main.graph.waiting is 'Cells not made yet.';
comment on column main.graph.ready_tasks is 'Its tasks in the frontier.';

comment on view main.invariant_violation is 'Contradictions in the run database; always empty.';
comment on column main.invariant_violation."rule" is 'The rule that is broken.';
comment on column main.invariant_violation.subject is 'What breaks it.';
comment on column main.invariant_violation.detail is 'How.';

comment on view main.live_row is 'Rows that are worked on, with the values they have so far: all columns of the spec, null where not made yet.';
comment on column main.live_row.row_id is 'The row.';
comment on column main.live_row.row_group is 'Its row group.';
comment on column main.live_row.row_index is 'Its place in the row group.';

comment on view main.dataset is 'The finished rows, in row_id order: the columns of the spec that are not marked drop.';
comment on column main.dataset.row_id is 'The row, from 0.';
