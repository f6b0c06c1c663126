# The public names, each with its module: type checkers read them here, and so does __init__.py.

from lvm_batch.lvm.architectures.amn import AttentionMixtureNetwork as AttentionMixtureNetwork
from lvm_batch.lvm.architectures.amn_mixer import AttentionMixerNetwork as AttentionMixerNetwork
from lvm_batch.lvm.architectures.catalog import build_model as build_model
from lvm_batch.lvm.architectures.context_model import ContextModel as ContextModel
from lvm_batch.lvm.architectures.gru import GRUStack as GRUStack
from lvm_batch.lvm.architectures.lstm import LSTMBaseline as LSTMBaseline
from lvm_batch.lvm.architectures.transformer import TransformerPredictor as TransformerPredictor
from lvm_batch.lvm.checkpoints.checkpoint import Checkpoint as Checkpoint
from lvm_batch.lvm.checkpoints.checkpoint import load_checkpoint as load_checkpoint
from lvm_batch.lvm.checkpoints.checkpoint import save_checkpoint as save_checkpoint
from lvm_batch.lvm.devices.devices import pick_device as pick_device
from lvm_batch.lvm.errors import ArchitectureError as ArchitectureError
from lvm_batch.lvm.errors import BankError as BankError
from lvm_batch.lvm.errors import CheckpointError as CheckpointError
from lvm_batch.lvm.errors import DeviceError as DeviceError
from lvm_batch.lvm.errors import MissingExtra as MissingExtra
from lvm_batch.lvm.errors import ModelError as ModelError
from lvm_batch.lvm.inference.predictor import Predictor as Predictor
from lvm_batch.lvm.inference.routing import REASONS as REASONS
from lvm_batch.lvm.inference.routing import escalation_reasons as escalation_reasons
from lvm_batch.lvm.inference.thresholds import Thresholds as Thresholds
from lvm_batch.lvm.registry.registry import resolve_model as resolve_model
from lvm_batch.lvm.search.exact import ExactIndex as ExactIndex
