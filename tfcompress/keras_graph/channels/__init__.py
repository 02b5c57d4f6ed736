"""The channels of a model: which are coupled, and the model without some of them."""

from tfcompress.keras_graph.channels.flow import ChannelFlow, ChannelGroup, read_channels
from tfcompress.keras_graph.channels.rebuilding import rebuild

__all__ = ["ChannelFlow", "ChannelGroup", "read_channels", "rebuild"]
