"""Where studies live and who works on them: a journal in the run folder, or a database that several drivers share."""
