"""How channels flow through a model: what must shrink together, and the model that is left."""

from tfcompress.keras_graph.channels.flow import ChannelFlow, ChannelGroup, read_channels
from tfcompress.keras_graph.channels.rebuilding import rebuild

__all__ = ["ChannelFlow", "ChannelGroup", "read_channels", "rebuild"]
