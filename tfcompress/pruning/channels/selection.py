"""Which coupled channels to remove: from scores and a ratio or a cost."""

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup

_SMALLEST_STEP = 1 / 1024  # of the search for a ratio that meets a cost


@dataclasses.dataclass(frozen=True)
class ChannelSelection:
    """Selects coupled channels with the lowest scores."""

    flow: ChannelFlow  # the channels of the model
    groups: Sequence[ChannelGroup]  # the groups that may shrink
    # The score of each set of coupled channels; one without a score stays.
    scores: Mapping[int, float]
    round_to: int = 1  # the channels left in a group are a multiple of this, if it has so many
    # "layer" for the same ratio in each group, "global" for the lowest scores anywhere.
    scope: str = "layer"

    def by_ratio(self, ratio: float) -> list[int]:
        """Return what to remove for a ratio of channels in [0, 1)."""
        if self.scope == "layer":
            counts = [math.floor(ratio * len(group) + 1e-9) for group in self.groups]
        else:
            counts = self._global_counts(ratio)
        return self.by_counts(counts)

    def by_counts(self, counts: Sequence[int]) -> list[int]:
        """Return what to remove for a number of channels per group, after rounding."""
        removed = set()
        for group, count in zip(self.groups, counts, strict=True):
            candidates = sorted(
                (b for b in group.coupled_sets if b in self.scores), key=self._score
            )
            removed.update(candidates[: self._rounded(group, count)])
        return sorted(removed - self._last_of_a_layer(removed))

    def by_cost(self, cost: Callable[[list[int]], float], limit: float) -> list[int]:
        """Return what to remove for the smallest ratio that brings a cost down to a limit."""
        low, high = 0.0, 1.0 - _SMALLEST_STEP
        if cost([]) <= limit:
            return []
        least = cost(self.by_ratio(high))
        if least > limit:
            raise ValueError(
                "Removing channels cannot make the model so small: every layer keeps at least one "
                f"channel, which costs {least:g}. {self.flow.describe_unfollowed()}"
                f"Received: a limit of {limit:g}"
            )
        while high - low > _SMALLEST_STEP:
            middle = (low + high) / 2
            if cost(self.by_ratio(middle)) <= limit:
                high = middle
            else:
                low = middle
        return self.by_ratio(high)

    def _score(self, coupled: int) -> float:
        """Return the score of coupled channels."""
        return self.scores[coupled]

    def _global_counts(self, ratio: float) -> list[int]:
        """Return how many to remove of each group for the lowest scores anywhere."""
        scored = [
            [self.scores[b] for b in group.coupled_sets if b in self.scores]
            for group in self.groups
        ]
        ranked = np.sort(np.concatenate(scored)) if scored else np.empty(0)
        count = math.floor(ratio * len(ranked) + 1e-9)
        threshold = ranked[count] if count < len(ranked) else np.inf
        return [
            min(sum(score < threshold for score in of_group), len(group) - 1)
            for group, of_group in zip(self.groups, scored, strict=True)
        ]

    def _rounded(self, group: ChannelGroup, count: int) -> int:
        """Return a count that leaves a multiple of ``round_to`` channels."""
        # In grouped convolutions, coupled channels hold one channel of each group.
        width = max(
            int(np.count_nonzero(self.flow.coupled_set_of[made] == group.coupled_sets[0]))
            for record in self.flow.records.values()
            for made in record.made.values()
        )
        left = (len(group) - count) * width
        left = max(round(left / self.round_to), 1) * self.round_to
        return max(len(group) - math.ceil(left / width), 0)

    def _last_of_a_layer(self, removed: Collection[int]) -> set[int]:
        """Return the best channels of each layer that would be left without any."""
        kept = self.flow.kept(removed)
        rescued = set()
        for record in self.flow.records.values():
            for made in record.made.values():
                if len(made) and not kept[made].any():  # padding adds none on one side
                    rescued.add(max(self.flow.coupled_set_of[made].tolist(), key=self._score))
        return rescued
