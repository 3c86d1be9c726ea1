"""The worker: an RQ worker that computes many generation jobs at once, one network call a tick."""
