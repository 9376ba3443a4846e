"""The libraries whose networks can be asked for by name: a closed list."""

from sktransfer.backbones.hubs._timm import Timm
from sktransfer.backbones.hubs._torchvision import Torchvision
from sktransfer.backbones.hubs._transformers import Transformers

ORIGINS = {origin.prefix: origin for origin in (Timm, Torchvision, Transformers)}
