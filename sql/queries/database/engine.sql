/*
How a connection is set up: what is attached to it, and what it may do from then on. The linter's grammar knows neither ATTACH with
options nor this pragma, so this file is not linted.
*/

-- name: keep_log_when_closed
-- Closing does not fold the log into the file by itself: a process that changed nothing leaves every byte as it was. O(1).
pragma disable_checkpoint_on_shutdown;

-- name: attach_source
-- A run database to copy from, read-only. O(its log).
attach {path} as {name} (read_only);

-- name: forbid_external_access
-- From here on no SQL of this connection reaches another file. O(1).
set enable_external_access = false;

-- name: has_locked_configuration
-- Was this database made ready before, by another connection of this process? O(1).
select current_setting('lock_configuration') as is_locked;

-- name: use_utc
-- The time zone in which everything is evaluated and shown, on every connection to this database (V5). O(1).
set global timezone = 'UTC';

-- name: use_gregorian_calendar
-- The calendar of everything. O(1).
set global calendar = 'gregorian';

-- name: allow_settings
-- The settings that may change once the configuration is locked. O(1).
set allowed_configs = ['threads', 'max_vacuum_tasks'];

-- name: merge_at_checkpoints
-- Checkpoints merge small parts of tables, some at a time. O(1).
set max_vacuum_tasks = 1;

-- name: only_write_at_checkpoints
-- Checkpoints write what is new, and merge nothing. O(1).
set max_vacuum_tasks = 0;

-- name: lock_configuration
-- From here on no setting changes. O(1).
set lock_configuration = true;

-- name: use_one_thread
-- Statements run on the thread that asks for them alone. O(1).
set threads = 1;
