"""Networks by name: from timm, torchvision and transformers, and the weights of others."""
