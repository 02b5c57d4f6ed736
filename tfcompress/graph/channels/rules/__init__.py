"""What each kind of layer does to channels: one function per kind.

A rule reads the tensors of a call, says which slices of the layer's variables and which settings
belong to which channels, ties what must go together, and returns the tensors that are made. A layer
without a rule is reported, and whatever it reads stays whole.
"""

from keras import layers as kl

from tfcompress.graph.channels.rules import mixing, passing, sequences
from tfcompress.graph.channels.rules.passing import untracked

_BY_LAYER = {
    passing.passed_on: (
        kl.Activation, kl.ReLU, kl.LeakyReLU, kl.ELU, kl.Dropout, kl.GaussianDropout,
        kl.GaussianNoise, kl.AlphaDropout, kl.SpatialDropout1D, kl.SpatialDropout2D,
        kl.SpatialDropout3D, kl.ActivityRegularization, kl.Identity,
    ),
    passing.softmax: (kl.Softmax,),
    passing.combined: (kl.Add, kl.Subtract, kl.Multiply, kl.Average, kl.Maximum, kl.Minimum),
    passing.concatenated: (kl.Concatenate,),
    passing.reshaped: (kl.Flatten, kl.Reshape, kl.Permute),
    passing.globally_pooled: (
        kl.GlobalAveragePooling1D, kl.GlobalAveragePooling2D, kl.GlobalAveragePooling3D,
        kl.GlobalMaxPooling1D, kl.GlobalMaxPooling2D, kl.GlobalMaxPooling3D,
    ),
    passing.spatial: (
        kl.AveragePooling1D, kl.AveragePooling2D, kl.AveragePooling3D, kl.MaxPooling1D,
        kl.MaxPooling2D, kl.MaxPooling3D, kl.UpSampling1D, kl.UpSampling2D, kl.UpSampling3D,
        kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D, kl.Cropping1D, kl.Cropping2D,
        kl.Cropping3D, kl.Resizing,
    ),
    mixing.convolution: (kl.Conv1D, kl.Conv2D, kl.Conv3D),
    mixing.transposed_convolution: (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose),
    mixing.depthwise_convolution: (kl.DepthwiseConv1D, kl.DepthwiseConv2D),
    mixing.separable_convolution: (kl.SeparableConv1D, kl.SeparableConv2D),
    mixing.dense: (kl.Dense,),
    mixing.einsum_dense: (kl.EinsumDense,),
    mixing.embedding: (kl.Embedding,),
    passing.batch_normalization: (kl.BatchNormalization,),
    passing.normalized_over_channels: (kl.LayerNormalization, kl.UnitNormalization),
    passing.leaky: (kl.PReLU,),
    sequences.multi_head_attention: (kl.MultiHeadAttention,),
    sequences.recurrent: sequences.RECURRENT,
    sequences.bidirectional: (kl.Bidirectional,),
}  # fmt: skip

# Functions of keras.ops, and the operators of symbolic tensors, appear in a graph as operations.
_BY_OPERATION = {
    passing.passed_on: (
        "Abs", "Cast", "Celu", "Clip", "Elu", "Gelu", "HardSigmoid", "HardSilu", "HardTanh",
        "LeakyRelu", "Identity", "Log1p", "Negative", "Relu", "Relu6", "Selu", "Sigmoid", "Silu",
        "Softplus", "Softsign", "Sqrt", "Square", "StopGradient", "Tanh",
    ),
    passing.combined: ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"),
    passing.concatenated: ("Concatenate",),
}  # fmt: skip

RULES = {kind: rule for rule, kinds in _BY_LAYER.items() for kind in kinds}
OPERATION_RULES = {name: rule for rule, names in _BY_OPERATION.items() for name in names}

__all__ = ["OPERATION_RULES", "RULES", "untracked"]
