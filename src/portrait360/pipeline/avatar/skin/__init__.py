"""The skin of an avatar, its eyes, lips and teeth: their shape and colours."""
