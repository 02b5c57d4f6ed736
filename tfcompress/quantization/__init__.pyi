from .placement import PlacementError as PlacementError
from .quantize_aware import QuantizeAware as QuantizeAware
from .quantize_aware import quantize_aware as quantize_aware
from .scheme import Scheme as Scheme
