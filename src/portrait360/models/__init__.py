"""Networks: tensors to tensors, no files and no diffusion. Attribute names are the published key names."""
