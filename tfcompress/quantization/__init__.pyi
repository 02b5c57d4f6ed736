from .placement import PlacementError as PlacementError
from .quantization_aware_model import QuantizeAware as QuantizeAware
from .quantize_aware import quantize_aware as quantize_aware
from .scheme import Scheme as Scheme
