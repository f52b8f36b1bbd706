"""From a job to a result: evaluators by name."""
