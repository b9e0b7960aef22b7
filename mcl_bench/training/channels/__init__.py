"""Channel analysis: whose a class's channels are, how they differ, and what they look at.

`docs/channels.md` says how each number is read.
"""

from mcl_bench.training.channels.report import ChannelReport
from mcl_bench.training.channels.sums import ChannelFacts, ChannelSums

__all__ = ["ChannelFacts", "ChannelReport", "ChannelSums"]
