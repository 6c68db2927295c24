"""Own videos, features and labels in a folder."""
