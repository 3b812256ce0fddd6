"""The hair of an avatar: its style, how its strands lie, and their colours."""
