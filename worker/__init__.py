"""Scores batches: jobs, their ledger in Redis, and the Celery worker that works them off."""
