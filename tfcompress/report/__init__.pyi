from .examine import examine as examine
from .findings import Findings as Findings
from .rendering import write_report as write_report
