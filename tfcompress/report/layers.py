"""What is known about each operation of a file, put together from what was read, run and timed."""

from collections.abc import Sequence

from exporters.benchmarking import OperationTime
from exporters.inspection import Inspection
from exporters.layer_parity import LayerAgreement
from tfcompress.report.findings import LayerFindings
from tfcompress.report.weights import operation_weights
from tfcompress.tflite.model import TFLiteModel


def layer_findings(
    model: TFLiteModel,
    inspection: Inspection,
    agreements: Sequence[LayerAgreement] = (),
    times: Sequence[OperationTime] = (),
) -> tuple[LayerFindings, ...]:
    """Put together what is known about each operation of the main graph.

    Args:
        model: the file, from ``read_model``.
        inspection: of the same file.
        agreements: how operations agree with a float file.
        times: how long operations take.

    Returns:
        An entry for each operation, in order.
    """
    noise = {agreement.index: agreement for agreement in agreements}
    seconds = {time.index: time.seconds for time in times}
    main = [operation for operation in inspection.operations if operation.subgraph == 0]
    return tuple(
        LayerFindings(
            index=report.index,
            operation=report.name,
            layer=report.layer,
            dtype=report.dtype,
            float_=report.float_,
            size=report.size,
            macs=report.macs,
            weights=operation_weights(model, model.subgraphs[0].operations[report.index]),
            sqnr=noise[report.index].sqnr if report.index in noise else None,
            inherited=noise[report.index].inherited if report.index in noise else None,
            seconds=seconds.get(report.index),
        )
        for report in main
    )
