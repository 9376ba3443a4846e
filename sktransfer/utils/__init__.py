"""Small shared tools at the bottom of the layers; nothing here is public."""
