import handmade

from tfcompress.tflite.flatbuffer import read_model
from tfcompress.tflite.lstm_scales import repair_lstm_scales

OUTPUT, STATE, CELL, HIDDEN = 1, 2, 3, 4


def lstm(output=0.5, state=0.5, hidden=0.5, cell=2.0**-14):
    """An operation of which only the scales matter here."""
    tensors = [
        handmade.tensor("x", (1, 2, 3), "INT8", scales=[1.0], zero_points=[0]),
        handmade.tensor("y", (1, 2, 4), "INT8", scales=[output], zero_points=[3]),
        handmade.tensor("state", (1, 4), "INT8", scales=[state], zero_points=[3]),
        handmade.tensor("cell", (1, 4), "INT16", scales=[cell], zero_points=[0]),
        handmade.tensor("hidden", (0,), "INT8", scales=[hidden], zero_points=[3]),
    ]
    record, code = handmade.operation(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", [0, *[-1] * 17, STATE, CELL], [OUTPUT]
    )
    record.intermediates = [-1, -1, -1, -1, HIDDEN]
    return handmade.file(handmade.graph(tensors, [(record, code)], [0], [OUTPUT]))


def scales(content):
    return [t.quantization.scales[0] for t in read_model(content).subgraphs[0].tensors[1:]]


def test_state_and_hidden_values_get_the_scale_of_the_output():
    repaired = repair_lstm_scales(lstm(output=0.5, state=0.25, hidden=0.125))
    assert scales(repaired) == [0.5, 0.5, 2.0**-14, 0.5]


def test_cell_steps_are_no_finer_than_the_kernel_can():
    assert scales(repair_lstm_scales(lstm(cell=2.0**-17))) == [0.5, 0.5, 2.0**-15, 0.5]


def test_a_file_that_is_right_is_left_alone():
    content = lstm(cell=2.0**-15)
    assert repair_lstm_scales(content) is content
