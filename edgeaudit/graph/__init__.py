"""The engine: jobs, their keys, the store, the scheduler and worker processes. It knows no stage."""
