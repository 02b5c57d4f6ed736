from .compress import compress as compress
from .precision import PrecisionChoice as PrecisionChoice
from .precision import choose_precisions as choose_precisions
from .results import SearchResult as SearchResult
from .results import read_result as read_result
from .sensitivity import Sensitivity as Sensitivity
from .sensitivity import sensitivity as sensitivity
