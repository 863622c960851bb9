"""Looking at a run while it works: the process that holds the file answers on a Unix socket."""
