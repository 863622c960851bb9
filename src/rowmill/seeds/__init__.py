"""Where seed rows come from: files here and elsewhere, directories, sessions of agents, frames given from Python."""
