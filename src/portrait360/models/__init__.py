"""Networks: tensors to tensors, without file access or samplers. Attribute names are the published key names."""
