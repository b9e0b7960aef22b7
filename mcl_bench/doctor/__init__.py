"""What is wrong with a sweep, found by comparing what its sides believe; and its mending."""

from mcl_bench.doctor.sides import Mended, Side, examine, mend, settled

__all__ = ["Mended", "Side", "examine", "mend", "settled"]
