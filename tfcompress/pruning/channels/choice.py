"""Which channels go: from scores and a share or a cost to bundles."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfcompress.keras_graph.channels import ChannelFlow, ChannelGroup

_SMALLEST_STEP = 1 / 1024  # of the search for a share that meets a cost


@dataclasses.dataclass(frozen=True)
class Choice:
    """Chooses bundles by score.

    Args:
        flow: the channels of the model.
        groups: those of its groups that may shrink.
        scores: the score of each bundle; one without a score stays.
        round_to: the channels that are left of a group are a multiple of this, if it has so many.
        scope: "layer" for the same share of each group, "global" for the lowest scores anywhere.
    """

    flow: ChannelFlow
    groups: Sequence[ChannelGroup]
    scores: Mapping[int, float]
    round_to: int = 1
    scope: str = "layer"

    def by_share(self, share: float) -> list[int]:
        """Return the bundles to remove for a share of channels in [0, 1)."""
        if self.scope == "layer":
            counts = [math.floor(share * len(group) + 1e-9) for group in self.groups]
        else:
            counts = self._global_counts(share)
        return self.by_counts(counts)

    def by_counts(self, counts: Sequence[int]) -> list[int]:
        """Return the lowest bundles of each group, so many of each, after rounding."""
        removed = set()
        for group, count in zip(self.groups, counts, strict=True):
            candidates = sorted((b for b in group.bundles if b in self.scores), key=self._score)
            removed.update(candidates[: self._rounded(group, count)])
        return sorted(removed - self._last_of_a_layer(removed))

    def by_cost(self, cost: Callable[[list[int]], float], limit: float) -> list[int]:
        """Return the bundles of the smallest share whose removal brings a cost to a limit.

        Raises:
            ValueError: no share does; says what the least is.
        """
        low, high = 0.0, 1.0 - _SMALLEST_STEP
        if cost([]) <= limit:
            return []
        least = cost(self.by_share(high))
        if least > limit:
            raise ValueError(
                "Removing channels cannot make the model so small: at least one channel of each "
                f"layer stays, at a cost of {least:g}. {self.flow.where_lost()}"
                f"Received: a limit of {limit:g}"
            )
        while high - low > _SMALLEST_STEP:
            middle = (low + high) / 2
            if cost(self.by_share(middle)) <= limit:
                high = middle
            else:
                low = middle
        return self.by_share(high)

    def _score(self, bundle):
        return self.scores[bundle]

    def _global_counts(self, share):
        scored = [
            [self.scores[b] for b in group.bundles if b in self.scores] for group in self.groups
        ]
        ranked = np.sort(np.concatenate(scored)) if scored else np.empty(0)
        count = math.floor(share * len(ranked) + 1e-9)
        threshold = ranked[count] if count < len(ranked) else np.inf
        return [
            min(sum(score < threshold for score in of_group), len(group) - 1)
            for group, of_group in zip(self.groups, scored, strict=True)
        ]

    def _rounded(self, group, count):
        # In grouped convolutions one bundle holds a channel of each group.
        width = self._width(group)
        left = (len(group) - count) * width
        left = max(round(left / self.round_to), 1) * self.round_to
        return max(len(group) - math.ceil(left / width), 0)

    def _width(self, group):
        first = group.bundles[0]
        widths = [
            int(np.count_nonzero(self.flow.bundle_of[made] == first))
            for record in self.flow.records.values()
            for made in record.made.values()
        ]
        return max(widths)

    def _last_of_a_layer(self, removed):
        """Return the best bundle of each layer that would be left without any channel."""
        kept = self.flow.kept(removed)
        rescued = set()
        for record in self.flow.records.values():
            for made in record.made.values():
                if not kept[made].any():
                    rescued.add(max(self.flow.bundle_of[made].tolist(), key=self._score))
        return rescued
