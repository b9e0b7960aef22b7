"""`python -m mcl_bench.cli` is `mcl-bench`."""

from mcl_bench.cli import main

main()
