"""The commands of ``aurea``."""
