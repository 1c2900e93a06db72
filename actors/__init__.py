"""Ray, and only Ray: each actor gives a plain class from `cluster/` a process, and nothing else."""
