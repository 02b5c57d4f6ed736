from .iterative import prune_iteratively as prune_iteratively
from .removal import remove_channels as remove_channels
