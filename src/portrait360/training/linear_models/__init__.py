"""How the face, hair and pose models that ship are made."""
