"""What the benchmarks of the whole line share: trials that train nothing, ours and their peers."""
