import exporters
import keras_callbacks

from . import clustering as clustering
from . import datasets as datasets
from . import distillation as distillation
from . import legacy as legacy
from . import post_training as post_training
from . import pruning as pruning
from . import quantization as quantization
from . import report as report
from . import search as search
from . import targets as targets
from .clustering import DifferentiableKMeans as DifferentiableKMeans
from .clustering import cluster_summary as cluster_summary
from .clustering import cluster_weights as cluster_weights
from .clustering import release_clusters as release_clusters
from .clustering import unique_weights as unique_weights
from .distillation import FSP as FSP
from .distillation import AttentionTransfer as AttentionTransfer
from .distillation import Distiller as Distiller
from .distillation import Features as Features
from .distillation import HardLabels as HardLabels
from .distillation import LogitsMSE as LogitsMSE
from .distillation import Relational as Relational
from .distillation import SoftLabels as SoftLabels
from .distillation import TeacherCache as TeacherCache
from .distillation import cache_teacher as cache_teacher
from .keras_graph.acceleration import accelerate as accelerate
from .legacy import NoEquivalentError as NoEquivalentError
from .legacy import from_tf_keras as from_tf_keras
from .legacy import load_tf_keras as load_tf_keras
from .post_training import correct_biases as correct_biases
from .post_training import equalize as equalize
from .post_training import prune_weights as prune_weights
from .post_training import reestimate_batch_normalization as reestimate_batch_normalization
from .post_training import repair as repair
from .post_training import round_weights as round_weights
from .pruning import Block as Block
from .pruning import Channel as Channel
from .pruning import ConstantSparsity as ConstantSparsity
from .pruning import CosineDecay as CosineDecay
from .pruning import Element as Element
from .pruning import ExponentialDecay as ExponentialDecay
from .pruning import NofM as NofM
from .pruning import OneCycle as OneCycle
from .pruning import PolynomialDecay as PolynomialDecay
from .pruning import remove_masks as remove_masks
from .pruning.blocks import remove_blocks as remove_blocks
from .pruning.channels import prune_iteratively as prune_iteratively
from .pruning.channels import remove_channels as remove_channels
from .pruning.gates import gated as gated
from .quantization import PlacementError as PlacementError
from .quantization import Scheme as Scheme
from .quantization import quantize_aware as quantize_aware
from .recipes import Recipe as Recipe
from .recipes import recipe as recipe
from .report import examine as examine
from .report import write_report as write_report
from .search import choose_precisions as choose_precisions
from .search import compress as compress
from .search import sensitivity as sensitivity
from .workers import BackupAcrossWorkers as BackupAcrossWorkers
from .workers import train_across_workers as train_across_workers

__version__: str

# The packages beside this one. A test compares them with theirs.
BenchmarkResult = exporters.BenchmarkResult
CompatibilityReport = exporters.CompatibilityReport
EncodingReport = exporters.EncodingReport
Inspection = exporters.Inspection
Limits = exporters.Limits
ParityReport = exporters.ParityReport
RunError = exporters.RunError
Runtime = exporters.Runtime
ScoreCalibration = exporters.ScoreCalibration
benchmark = exporters.benchmark
check_target = exporters.check_target
encode_weights = exporters.encode_weights
export_tflite = exporters.export_tflite
find_runtimes = exporters.find_runtimes
inspect = exporters.inspect
load = exporters.load
load_isolated = exporters.load_isolated
run = exporters.run
run_isolated = exporters.run_isolated
validate = exporters.validate
write_bundle = exporters.write_bundle
CompressionSummary = keras_callbacks.CompressionSummary
DeployedAccuracy = keras_callbacks.DeployedAccuracy
IterativeHardThresholding = keras_callbacks.IterativeHardThresholding
MagnitudePruning = keras_callbacks.MagnitudePruning
NetworkSlimming = keras_callbacks.NetworkSlimming
ProximalL1 = keras_callbacks.ProximalL1
QuantizationSchedule = keras_callbacks.QuantizationSchedule
RigL = keras_callbacks.RigL
SET = keras_callbacks.SET
SparsityRegularization = keras_callbacks.SparsityRegularization
